package sample

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/digitorus/timestamp"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/bitcoin"
	"vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
	"vaultmesh.org/vaultmesh/proof/state"
	"vaultmesh.org/vaultmesh/receipt"
)

// ChainID and Contract are those of the sample's Ethereum.
const ChainID = 31337

// Contract is the contract whose events count.
var Contract = ethereum.Address{0xc0, 1, 2}

// blocks remembers which blocks an auditor would pin.
type blocks struct {
	pinned  []ethereum.Hash
	bitcoin []bitcoin.Block
}

// Digest is what is anchored of a checkpoint.
func (w *World) Digest(note []byte) vaultmesh.Digest {
	w.T.Helper()
	body, err := receipt.CheckpointBody(note)
	if err != nil {
		w.T.Fatal(err)
	}
	return vaultmesh.Sum(body)
}

// Stamp has the authority stamp a digest, so long after the start.
func (w *World) Stamp(digest vaultmesh.Digest, after time.Duration) []byte {
	w.T.Helper()
	w.clock = Start.Add(after)
	q := timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true}
	request, err := q.Marshal()
	if err != nil {
		w.T.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(request))
	r.Header.Set("Content-Type", "application/timestamp-query")
	answer := httptest.NewRecorder()
	w.Authority.ServeHTTP(answer, r)
	if answer.Code != http.StatusOK {
		w.T.Fatalf("the authority answers %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.Bytes()
}

// Bitcoin mines a block with the digest in it, and three on top.
func (w *World) Bitcoin(digest vaultmesh.Digest, after time.Duration) []byte {
	w.T.Helper()
	tx := []byte{2, 0, 0, 0, 1}
	tx = append(tx, make([]byte, 36)...)
	tx = append(tx, 0, 0xfd, 0xff, 0xff, 0xff, 2)
	for i, script := range [][]byte{bitcoin.Script(digest), append([]byte{0, 20}, make([]byte, 20)...)} {
		tx = binary.LittleEndian.AppendUint64(tx, uint64(i)*1000)
		tx = append(append(tx, byte(len(script))), script...)
	}
	tx = append(tx, 0, 0, 0, 0)
	ids := []bitcoin.Hash{{1}, {2}, bitcoin.Sum2(tx), {4}, {5}}
	branch, root, err := bitcoin.Branch(ids, 2)
	if err != nil {
		w.T.Fatal(err)
	}
	p := bitcoin.Proof{Branch: branch, Header: mine(bitcoin.Hash{7}, root, Start.Add(after)), Height: 812, Index: 2, Network: bitcoin.Regtest, Tx: tx}
	before := p.Header.Hash()
	for i := range 3 {
		h := mine(before, bitcoin.Hash{byte(i)}, Start.Add(after+time.Duration(i+1)*10*time.Minute))
		p.Following, before = append(p.Following, h), h.Hash()
	}
	w.chain.bitcoin = append(w.chain.bitcoin, bitcoin.Block{Hash: before.String(), Height: p.Height + 3})
	out, err := p.Encode()
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

// mine finds a nonce at the difficulty of the regression-test network.
func mine(previous, root bitcoin.Hash, at time.Time) (h bitcoin.Header) {
	h[0] = 4
	copy(h[4:], previous[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], uint32(at.Unix()))
	binary.LittleEndian.PutUint32(h[72:], 0x207fffff)
	for nonce := uint32(0); ; nonce++ {
		binary.LittleEndian.PutUint32(h[76:], nonce)
		if hash := h.Hash(); hash[31] < 0x7f { // little-endian: the last byte is the most significant one
			return h
		}
	}
}

// Ethereum makes a block in which the contract emits the digest, and two descendants of which the last is pinned.
func (w *World) Ethereum(digest vaultmesh.Digest, after time.Duration) []byte {
	w.T.Helper()
	var receipts [][]byte
	for i := range 4 {
		var log []byte
		if i == 2 {
			sender := make([]byte, 32)
			sender[12], sender[31] = 0x5e, 0x4d
			topics := rlp.AppendBytes(rlp.AppendBytes(nil, digest[:]), sender)
			log = rlp.AppendList(nil, rlp.AppendBytes(rlp.AppendList(rlp.AppendBytes(nil, Contract[:]), topics), nil))
		}
		body := rlp.AppendUint(rlp.AppendUint(nil, 1), uint64(21_000*(i+1)))
		body = rlp.AppendList(rlp.AppendBytes(body, make([]byte, 256)), log)
		receipts = append(receipts, append([]byte{2}, rlp.AppendList(nil, body)...))
	}
	root, _, err := ethereum.ReceiptsRoot(receipts, 2)
	if err != nil {
		w.T.Fatal(err)
	}
	at := uint64(Start.Add(after).Unix())
	header := Header(ethereum.Hash{1}, root, 900, at, 17)
	p, err := ethereum.Make(ChainID, header, receipts, 2, 0)
	if err != nil {
		w.T.Fatal(err)
	}
	for i := range uint64(2) {
		header = Header(ethereum.Keccak(header), ethereum.Hash{2}, 901+i, at+12*(i+1), 17)
		p.Descendants = append(p.Descendants, header)
	}
	w.chain.pinned = append(w.chain.pinned, ethereum.Keccak(header))
	out, err := p.Encode()
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

// Header encodes the header of an Ethereum block, with as many fields as the fork has.
func Header(parent, receipts ethereum.Hash, number, at uint64, fields int) []byte {
	var b []byte
	for i := range fields {
		switch i {
		case 0:
			b = rlp.AppendBytes(b, parent[:])
		case 2:
			b = rlp.AppendBytes(b, make([]byte, 20))
		case 5:
			b = rlp.AppendBytes(b, receipts[:])
		case 6:
			b = rlp.AppendBytes(b, make([]byte, 256))
		case 7, 9, 10, 15:
			b = rlp.AppendUint(b, 30_000_000)
		case 8:
			b = rlp.AppendUint(b, number)
		case 11:
			b = rlp.AppendUint(b, at)
		case 12:
			b = rlp.AppendBytes(b, []byte("sample"))
		case 14:
			b = rlp.AppendBytes(b, make([]byte, 8))
		default:
			h := ethereum.Keccak([]byte{byte(i)})
			b = rlp.AppendBytes(b, h[:])
		}
	}
	return rlp.AppendList(nil, b)
}

// tree is a state tree, by path.
type tree []held

type held struct {
	key      string
	document []byte
	leaf     state.Leaf
}

// Root appends a state.root receipt over the state of all receipts so far: the heads of the subjects, and a twin.
func (w *World) Root(after time.Duration) receipt.Ref {
	w.T.Helper()
	t := w.state()
	body := &receipt.StateBody{Root: t.hash(0), Size: w.Size(), Entries: uint64(len(t))}
	r := w.Add(receipt.StateRoot, receipt.StateSubject(Domain), "node:sample", after, body, nil)
	w.states[uint64(r.Index)] = t
	return r
}

func (w *World) state() (t tree) {
	for subject, link := range w.Heads {
		if class := subject[:4]; class == "comm" || class == "tele" {
			continue
		}
		t = append(t, newHeld(state.SubjectKey(subject), state.Subject{Count: link.Seq, Index: link.Prev.Index, Leaf: link.Prev.Leaf}.Append(nil)))
	}
	twin := state.Twin{ID: "transformer-4-9", Model: "dtmi:test:x;1", Version: 42, Reported: map[string]state.Value{"tap": {JSON: []byte("1.025"), Quality: "good", Time: Start.Add(5 * time.Second)}}}
	return append(t, newHeld(state.TwinKey("transformer-4-9"), twin.Append(nil)))
}

func newHeld(key string, document []byte) held {
	return held{key, document, state.Leaf{Path: state.Path(key), Value: vaultmesh.Sum(document)}}
}

// hash returns the root of the leaves that share their first depth bits.
func (t tree) hash(depth int) vaultmesh.Digest {
	switch len(t) {
	case 0:
		return state.Empty()
	case 1:
		return t[0].leaf.Hash()
	}
	zero, one := t.split(depth)
	return state.HashInner(zero.hash(depth+1), one.hash(depth+1))
}

func (t tree) split(depth int) (zero, one tree) {
	for _, h := range t {
		if state.Bit(&h.leaf.Path, depth) == 0 {
			zero = append(zero, h)
		} else {
			one = append(one, h)
		}
	}
	return zero, one
}

// StateProof proves what the state tree of the state.root receipt at the index holds under a key.
func (w *World) StateProof(at receipt.Ref, key string) []byte {
	w.T.Helper()
	t, path := w.states[uint64(at.Index)], state.Path(key)
	p := state.Proof{Receipt: at.Index, Key: key}
	for depth := 0; len(t) > 1; depth++ {
		zero, one := t.split(depth)
		if state.Bit(&path, depth) == 0 {
			p.Siblings, t = append(p.Siblings, one.hash(depth+1)), zero
		} else {
			p.Siblings, t = append(p.Siblings, zero.hash(depth+1)), one
		}
	}
	if len(t) == 1 {
		if t[0].key == key {
			p.Document, p.Value = t[0].document, t[0].leaf.Value
		} else {
			p.Other = &t[0].leaf
		}
	}
	return p.Encode()
}
