/* prove.h: `subpay prove`: looks at every case of a small world instead of a sample.
 *
 * A world is one user, up to four requests, the queue, the saver, two processors, a processing with a memory of
 * keys, a network that loses, delays and repeats, a clock, and a backup. Everything that is decided in it is
 * decided by the shipped functions of billing/; what the rest of the program does around them is modelled in
 * steps as coarse as its transactions. All orders of all steps are explored, breadth first, with a set of
 * visited states; the invariants of the contract are checked in each. */
#ifndef SUBPAY_SIM_PROVE_H
#define SUBPAY_SIM_PROVE_H

/* argv[0] is the command; `--bound N` (1–4), `--world NAME` for one of them. Prints; 0 proved, 1 broken or not
 * finished, 2 wrong usage. */
int prove_command(int argc, char **argv);

#endif
