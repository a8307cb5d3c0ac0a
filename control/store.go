package control

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/receipt"
)

// Keys of control in the journal; numbers are eight bytes big-endian.
//
//	c/c/<id>                   command: record as JSON
//	c/l/<^index>               command id, newest first, by the inverted log index of its proposal
//	c/k/<principal>\0<key>     idempotency key: command id
//	c/a/<id>                   the command has not ended
//	c/o/<device>\0<index>      outbox: Outbound as JSON
//	c/q/<count key>            quota used: start of the window and count
//	c/n/<nonce>                nonce of a challenge that was used
//	c/r/<block>                revoked capability block: log index of the receipt
//	c/m/<batch><position>      telemetry message on which a command's observation rests
//	c/h                        HaltState as JSON
//	c/i/<digest>               what a decision saw: canonical receipt.Inputs
//	c/e/<principal>            private texts that the principal had at the latest erasure
const (
	prefixCommand = "c/c/"
	prefixList    = "c/l/"
	prefixActive  = "c/a/"
	prefixOutbox  = "c/o/"
	prefixRevoked = "c/r/"
)

var keyHalt = []byte("c/h")

func keyCommand(id vaultmesh.CommandID) []byte { return []byte(prefixCommand + string(id)) }

func keyActive(id vaultmesh.CommandID) []byte { return []byte(prefixActive + string(id)) }

func keyList(i vaultmesh.LogIndex) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixList), ^uint64(i))
}

func keyIdempotency(p vaultmesh.Principal, key string) []byte {
	return []byte("c/k/" + string(p) + "\x00" + key)
}

func keyOutbox(d vaultmesh.DeviceID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefixOutbox+string(d)+"\x00"), seq)
}

func keyQuota(key string) []byte { return []byte("c/q/" + key) }

func keyNonce(nonce string) []byte { return []byte("c/n/" + nonce) }

func keyMessage(batch vaultmesh.LogIndex, position int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte("c/m/"), uint64(batch)), uint32(position))
}

func keyInputs(d vaultmesh.Digest) []byte { return append([]byte("c/i/"), d[:]...) }

func keyErased(p vaultmesh.Principal) []byte { return []byte("c/e/" + string(p)) }

func keyRevoked(b vaultmesh.Digest) []byte { return append([]byte(prefixRevoked), b[:]...) }

// prefixEnd returns the first key after all keys that begin with prefix.
func prefixEnd(prefix string) []byte {
	b := []byte(prefix)
	b[len(b)-1]++
	return b
}

// record is a command as it is stored: what faces show, and what only the machine and the service need.
type record struct {
	Command
	Device     vaultmesh.DeviceID         `json:"device"`
	Token      string                     `json:"token,omitempty"`
	Version    uint64                     `json:"twin_version,string"`
	VerdictID  vaultmesh.Digest           `json:"verdict_id"`
	Expect     map[string]float64         `json:"expect,omitempty"`
	Tolerance  map[string]float64         `json:"tolerance,omitempty"` // nil for a command that was assessed before it was recorded
	Desired    map[string]json.RawMessage `json:"desired,omitempty"`
	Challenge  json.RawMessage            `json:"challenge,omitempty"`
	Last       receipt.Ref                `json:"last"`          // the newest receipt
	Outbox     uint64                     `json:"outbox,string"` // Seq of the outbox entry; 0 where none was made
	Dispatched time.Time                  `json:"dispatched,omitzero"`
}

func load(r journal.Reader, id vaultmesh.CommandID) (*record, error) {
	v, ok, err := r.Get(keyCommand(id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "command", string(id), "there is no such command").WithFix("list the commands to see their identifiers")
	}
	var c record
	if err := json.Unmarshal(v, &c); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "command", string(id), "the stored record is damaged").Because(err)
	}
	return &c, nil
}

func loadHalt(r journal.Reader) (HaltState, error) {
	var h HaltState
	v, ok, err := r.Get(keyHalt)
	if err != nil || !ok {
		return h, err
	}
	if err := json.Unmarshal(v, &h); err != nil {
		return h, vaultmesh.Errorf(vaultmesh.Corrupt, "halt", "", "the stored state is damaged").Because(err)
	}
	return h, nil
}

// maxAhead is how far ahead of now a window may begin, in seconds: entries are ordered a little out of the order of their
// times. One that is further ahead was written while the clock was wrong, and is forgotten.
const maxAhead = 60

// loadCount returns what was used of a quota, and in which window. One key holds its newest window only: a command that
// was judged before that began counts in it.
func loadCount(r journal.Reader, key string, window int64, now time.Time) (used uint64, in int64, err error) {
	v, ok, err := r.Get(keyQuota(key))
	if err != nil || !ok {
		return 0, window, err
	}
	if len(v) != 16 {
		return 0, window, vaultmesh.Errorf(vaultmesh.Corrupt, "quota", key, "the stored count is damaged")
	}
	stored := int64(binary.BigEndian.Uint64(v))
	if stored < window || stored > window && stored > now.Unix()+maxAhead {
		return 0, window, nil
	}
	return binary.BigEndian.Uint64(v[8:]), stored, nil
}

// addCount uses up (or gives back) a part of a quota.
func addCount(tx journal.Tx, key string, window int64, now time.Time, by int64) error {
	n, window, err := loadCount(tx, key, window, now)
	if err != nil {
		return err
	}
	if by < 0 && n < uint64(-by) {
		n = uint64(-by)
	}
	n += uint64(by)
	tx.Put(keyQuota(key), binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(window)), n))
	return nil
}

// put stores the record and keeps the index of commands that have not ended.
func put(tx journal.Tx, c *record) error {
	v, err := json.Marshal(c)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "command", string(c.ID), "cannot store").Because(err)
	}
	tx.Put(keyCommand(c.ID), v)
	if Ended(c.State) {
		tx.Delete(keyActive(c.ID))
	} else {
		tx.Put(keyActive(c.ID), []byte{1})
	}
	return nil
}

// Ended reports whether no further transition can follow state.
func Ended(s State) bool {
	next, known := receipt.NextCommandStates(string(s))
	return known && len(next) == 0
}

// active returns all commands that have not ended.
func active(r journal.Reader) ([]*record, error) {
	var ids []vaultmesh.CommandID
	err := r.Scan([]byte(prefixActive), prefixEnd(prefixActive), func(k, _ []byte) (bool, error) {
		ids = append(ids, vaultmesh.CommandID(strings.TrimPrefix(string(k), prefixActive)))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]*record, 0, len(ids))
	for _, id := range ids {
		c, err := load(r, id)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// outbox returns what waits for the device, in order of dispatch.
func outbox(r journal.Reader, d vaultmesh.DeviceID) ([]Outbound, error) {
	var out []Outbound
	prefix := prefixOutbox + string(d) + "\x00"
	err := r.Scan([]byte(prefix), prefixEnd(prefix), func(_, v []byte) (bool, error) {
		var o Outbound
		if err := json.Unmarshal(v, &o); err != nil {
			return false, vaultmesh.Errorf(vaultmesh.Corrupt, "outbox", string(d), "a stored command is damaged").Because(err)
		}
		out = append(out, o)
		return true, nil
	})
	return out, err
}
