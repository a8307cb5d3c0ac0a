// Package journal owns the one durable store of a node: ordered atomic commits over Pebble, two lanes with
// admission control, group commit and snapshot reads. It is on floor 2.
//
// It must not know what the keys and values mean. What a commit does is decided by the [Op] functions that
// the twin, lawchain and control packages hand in.
package journal

// Lane separates commands from telemetry, so that a flood of the second cannot starve the first. Each lane has
// a bounded queue and a committer of its own; both write one ordered log.
type Lane uint8

// The lanes.
const (
	Commands Lane = iota
	Telemetry
)

// Reader is what a snapshot, the journal and a transaction can read.
type Reader interface {
	// Get returns the value of key; the slice belongs to the caller. ok is false where the key is absent.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan calls fn for each key in [lo, hi) in ascending order until fn returns false or an error. The
	// slices are valid only during the call.
	Scan(lo, hi []byte, fn func(key, value []byte) (more bool, err error)) error
}

// Tx is the write side of one operation within a commit. It reads its own writes and those of the earlier
// operations of the same group. It is valid only while its Op runs.
type Tx interface {
	Reader
	// Put keeps key and value until the commit; the caller must not change them.
	Put(key, value []byte)
	Delete(key []byte)
	// OnRollback registers f to be called if this operation's writes are dropped; the last registered runs first.
	OnRollback(f func())
	// OnApplied registers f to be called in commit order once the writes are visible to readers (but maybe not
	// yet durable); f must be short and must not block.
	OnApplied(f func())
}

// Op is one operation. An error drops its writes and is returned to the submitter; the other operations of the
// group are not affected. Ops run one at a time, in the order of the commit; they must not block.
type Op func(tx Tx) error
