// Package witness owns both sides of the C2SP tlog-witness protocol: the [Server], which cosigns checkpoints of logs
// that only grow, and the [Feeder], which gets this log's checkpoints cosigned and raises the alarm where a witness
// holds another tree than this log. It is on floor 2.
//
// It must not know what a receipt says. It keeps nothing in the journal itself: the feeder hands what it got to its
// owner, and the server's folder is its own, since a witness must not share the fate of the log that it watches.
//
// Sources: C2SP tlog-witness, tlog-cosignature (cosignature/v1, ed25519), tlog-checkpoint, signed-note, tlog-policy.
package witness
