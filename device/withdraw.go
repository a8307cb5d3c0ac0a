package device

import (
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Withdraw keeps o from its device from now on, and reports whether the device certainly never got it: false where it
// was written to a connection, or may have been before this broker started. Seq must grow over all devices, since
// what was dispatched before the start is told by it. A source that withdraws must also stop returning the command
// from Pending, since a restarted broker knows nothing of it.
func (b *Broker) Withdraw(o Outbound) bool {
	p := b.peer(o.Device)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w Outbound) bool { return w.Command == o.Command })
	kept := p.held.put(o, b.o.Now())
	return kept && !p.sent.lossy && !p.sent.has(o.Command) && o.Seq >= b.firstSeq.Load()
}

// ledger remembers commands until they expire. It keeps at most maxLedger; once it could not keep one, lossy says that
// absence proves nothing.
type ledger struct {
	expires map[vaultmesh.CommandID]time.Time
	lossy   bool
}

// maxLedger bounds the unexpired commands of one device in a ledger.
const maxLedger = 4096

func (l *ledger) has(id vaultmesh.CommandID) bool {
	_, ok := l.expires[id]
	return ok
}

// put notes o; every doubling of the ledger throws out what expired.
func (l *ledger) put(o Outbound, now time.Time) (ok bool) {
	if l.expires == nil {
		l.expires = map[vaultmesh.CommandID]time.Time{}
	}
	if n := len(l.expires); n >= 64 && n&(n-1) == 0 || n >= maxLedger {
		for id, t := range l.expires {
			if !now.Before(t) {
				delete(l.expires, id)
			}
		}
	}
	if len(l.expires) >= maxLedger {
		l.lossy = true
		return false
	}
	l.expires[o.Command] = o.Expires
	return true
}
