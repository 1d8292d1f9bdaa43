// Asks the compiler by pragmas and by the linker's own language for what only its command line may say.
// expect: compile_error ok error | wall_s=3
#pragma GCC plugin "/tmp/evil.so"
#pragma GCC push_options
#pragma GCC optimize("O3", "-fplugin=/tmp/evil.so", "-wrapper=/bin/sh,-c,id")
#pragma GCC target("-fplugin=/tmp/evil.so")
#pragma comment(linker, "-o /usr/@TOKEN@")
#pragma GCC dependency "@SECRET_OPEN@"
asm(".section .interp,\"a\"\n.string \"/tmp/program\"\n.text");
asm(".section .init_array,\"aw\"\n.quad evil\n.text");
extern "C" void evil() {}
int main() {}
