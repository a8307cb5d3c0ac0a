// Package crdt owns the convergent state of a twin: hybrid logical clocks, last-writer-wins registers and their
// algebra. It is on floor 1: no I/O, no clock of its own, no goroutines.
//
// It must not know what a register means, nor how it is stored or sent.
package crdt
