package twin

import (
	document "vaultmesh.org/vaultmesh/proof/state"
)

// Document returns the canonical document of the twin's whole state, see [document.Twin]: what a state proof shows and what
// a decision that saw the twin commits to.
func (t *Twin) Document() []byte { return t.appendDocument(nil) }

func (t *Twin) appendDocument(b []byte) []byte {
	d := document.Twin{ID: t.ID, Model: t.Model, Device: t.Device, Nameplate: t.Nameplate, Desired: t.Desired, Version: t.Version, Seen: t.Seen,
		Reported: documented(t.Reported), Telemetry: documented(t.Telemetry)}
	for _, r := range t.Relationships {
		d.Relationships = append(d.Relationships, document.Relationship(r))
	}
	return d.Append(b)
}

func documented(values map[string]Value) map[string]document.Value {
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]document.Value, len(values))
	for name, v := range values {
		out[name] = document.Value{JSON: v.V, Quality: v.Q.String(), Time: v.T}
	}
	return out
}

// AppendDocument appends the twin's [Twin.Document]. Unlike [Snapshot.Get] it keeps nothing in memory.
func (r Reading) AppendDocument(b []byte) []byte { return r.st.build().appendDocument(b) }

// Version is [Twin].Version.
func (r Reading) Version() uint64 { return r.st.version }

// Changed calls fn for every twin whose state differs between since, an earlier snapshot of the same store, and v, until
// fn returns false; the order is that of their definition. It looks at one pointer for each 128 twins and at the twins of
// those that differ.
func (v *Snapshot) Changed(since *Snapshot, fn func(Reading) bool) {
	for n, p := range v.pages {
		var old *page
		if n < len(since.pages) {
			old = since.pages[n]
		}
		if p == old {
			continue
		}
		for i := range min(pageSize, len(v.ids)-n*pageSize) {
			st := p.states[i]
			if n*pageSize+i < len(since.ids) && old.states[i] == st {
				continue
			}
			if !fn(Reading{st}) {
				return
			}
		}
	}
}
