// Package e2e runs the built program and breaks what surrounds it: its data folder, its keys, its disk, its
// configuration, its devices and the requests that it gets. Each fault must be answered with words that say what is
// wrong, where, and what to do, and with an exit status or a status code that a program can act upon. It holds tests
// only, and is on floor 7.
//
// It must not look inside a node. What needs root (a read-only mount, a small disk) is skipped with a message elsewhere.
package e2e
