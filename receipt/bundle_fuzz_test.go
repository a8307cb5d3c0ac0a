package receipt

import (
	"bytes"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func FuzzOpenScope(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, s := range []Scope{{}, {Commands: []vaultmesh.CommandID{"b", "a"}, Subjects: []string{"twin/x"}}, {Ranges: []Range{{First: 9, Last: 12, From: at, Until: at.Add(time.Hour)}, {First: 1, Last: 1}}}} {
		f.Add(ScopePart(s).Data)
	}
	f.Add([]byte(`{"commands":["a","a"],"ranges":[],"subjects":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := OpenScope(doc)
		if err != nil {
			return
		}
		if !bytes.Equal(ScopePart(s).Data, doc) {
			t.Errorf("%q is read and written as %q", doc, ScopePart(s).Data)
		}
		for _, r := range s.Ranges {
			if !s.covers(r.First) || !s.covers(r.Last) || !s.joins(r.First, r.Last) {
				t.Errorf("%+v does not cover %+v", s, r)
			}
		}
	})
}

func FuzzConsistency(f *testing.F) {
	f.Add(ConsistencyPart(3, 9, []vaultmesh.Digest{vaultmesh.Sum(nil), vaultmesh.Sum([]byte("x"))}).Data)
	f.Add(ConsistencyPart(4, 8, nil).Data)
	f.Add([]byte("old 03\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		old, path, err := decodeConsistency(doc)
		if err != nil {
			return
		}
		var hashes []vaultmesh.Digest
		for _, h := range path {
			hashes = append(hashes, vaultmesh.Digest(h))
		}
		if got := ConsistencyPart(old, old+1, hashes).Data; !bytes.Equal(got, doc) {
			t.Errorf("%q is read and written as %q", doc, got)
		}
	})
}

// The pre-authentication encoding is that of the library.
func TestOwnPAE(t *testing.T) {
	for _, payload := range []string{"", "x", "hello world", string(make([]byte, 70_000))} {
		if got, want := pae(PayloadType, []byte(payload)), librarysPAE(PayloadType, []byte(payload)); !bytes.Equal(got, want) {
			t.Errorf("%.60q, want %.60q", got, want)
		}
	}
}

func TestPartNames(t *testing.T) {
	for _, p := range []Part{{Name: "anchors/20/checkpoint", Type: PartAnchored}, {Name: "anchors/00000000020/checkpoint", Type: PartAnchored}, {Name: "anchors/0000000020/rfc3161-x.tsr", Type: PartTimestamp}, {Name: "anchors/0000000020/rfc3161-10.tsr", Type: PartTimestamp},
		{Name: "rfc3161-0.tsr", Type: PartTimestamp}, {Name: "anchors/../checkpoint", Type: PartAnchored}, {Name: "anchors/0000000020/checkpoint", Type: PartCheckpoint}, {Name: "state/x.json", Type: PartState}, {Name: "scope/1", Type: PartScope},
		{Name: "anchors/99999999999999999999999/checkpoint", Type: PartAnchored}, {Name: "anchors/0000000020/bitcoin.json/", Type: PartBitcoin}} {
		p.Data = []byte("x")
		if p.check() == nil {
			t.Errorf("%s is taken for a part of type %s", p.Name, p.Type)
		}
	}
	for _, p := range []Part{AnchoredPart(1<<40, []byte("x")), TimestampPart(7, 7, []byte("x")), BitcoinPart(7, []byte("x")), EthereumPart(7, []byte("x")), StatePart(99, []byte("x")), InputPart([]byte("x")), PrivatePart(vaultmesh.Sum(nil), []byte("x")), ScopePart(Scope{}), ConsistencyPart(1, 2, nil)} {
		if err := p.check(); err != nil {
			t.Error(err)
		}
	}
	old := []byte(`{"domain":"dev","format":"vaultmesh-bundle/v1","manifest":{"keyid":"`)
	if _, err := DecodeBundle(old); err == nil || !bytes.Contains([]byte(err.Error()), []byte("version 1, which was never released")) {
		t.Errorf("a bundle of version 1: %v", err)
	}
}
