// Makes the compiler complain without end.
// expect: compile_error | wall_s=3
#define E(x) undeclared_##x(__COUNTER__, "........................................................................................");
#define T(x) E(x##0) E(x##1) E(x##2) E(x##3) E(x##4) E(x##5) E(x##6) E(x##7) E(x##8) E(x##9)
#define H(x) T(x##0) T(x##1) T(x##2) T(x##3) T(x##4) T(x##5) T(x##6) T(x##7) T(x##8) T(x##9)
#define K(x) H(x##0) H(x##1) H(x##2) H(x##3) H(x##4) H(x##5) H(x##6) H(x##7) H(x##8) H(x##9)
int main() { K(a) K(b) K(c) K(d) K(e) }
