// Makes a binary of two gigabytes.
// expect: compile_error | wall_s=3
char filled[2u << 30] = {1};
int main() { return filled[1]; }
