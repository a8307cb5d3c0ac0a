// Package chaos kills nodes and counts what is lost. A real node process works under load (a fleet of devices, an agent,
// operators, an auditor, all from outside) and is killed again and again, at random instants and at each point of a
// commit; afterwards everything that it ever acknowledged is asked for. It holds tests only, and is on floor 7.
//
// It must not look inside a node: what counts is what was acknowledged to somebody, and what the public faces, the
// published log and the devices say afterwards.
//
//	go test ./test/chaos                                                       a few rounds, under a minute
//	VAULTMESH_SOAK=1 go test ./test/chaos -run Soak -rounds 50 -timeout 30m -v   the whole, with a summary line
//
// Every run prints its seed; -seed repeats its choices, though not the instants at which the kernel delivers a signal.
package chaos
