/* `subpay prove` as a program of its own, for the tests and the mutants. */
#include "sim/prove.h"

int main(int argc, char **argv)
{
    return prove_command(argc, argv);
}
