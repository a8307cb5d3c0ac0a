package bitcoin

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"vaultmesh.org/vaultmesh"
)

// The OpenTimestamps file format, version 1: a magic text, a version, the operation that made the digest of the file,
// the digest, and a tree of operations whose leaves are attestations.
const (
	otsMagic   = "\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
	otsVersion = 1

	otsAttestation = 0x00
	otsSHA256      = 0x08
	otsAppend      = 0xf0
	otsPrepend     = 0xf1
	otsFork        = 0xff
)

// otsBlock is the tag of an attestation that a digest is the Merkle root of the block at a height.
var otsBlock = [8]byte{0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01}

// Bounds of an .ots file that is read; operands and results have the limit of OpenTimestamps itself, [MaxTx].
const (
	MaxOTS          = 64 << 10 // bytes
	maxOperations   = 1024
	maxAttestations = 32
	maxPayload      = 8192
)

// OTS returns the proof as an OpenTimestamps file over the file whose SHA-256 is the digest that the transaction commits
// to: for an anchor, the body of the checkpoint. The file claims that the Merkle root is that of the block at the proof's
// height; whoever verifies it looks that block up. A proof that does not hold in itself is refused.
func OTS(proof []byte) ([]byte, error) {
	p, err := Decode(proof)
	if err != nil {
		return nil, err
	}
	t, err := parseTx(p.Tx)
	if err != nil {
		return nil, err
	}
	digest, at, err := t.commitment()
	if err != nil {
		return nil, err
	}
	if _, err := p.checkTx(digest); err != nil {
		return nil, err
	}
	out := append([]byte(otsMagic), otsVersion, otsSHA256)
	out = append(out, digest[:]...)
	operand := func(op byte, b []byte) {
		out = append(binary.AppendUvarint(append(out, op), uint64(len(b))), b...)
	}
	operand(otsPrepend, p.Tx[:at])
	operand(otsAppend, p.Tx[at+32:])
	out = append(out, otsSHA256, otsSHA256)
	for i, sibling := range p.Branch {
		if p.Index>>i&1 == 1 {
			operand(otsPrepend, sibling[:])
		} else {
			operand(otsAppend, sibling[:])
		}
		out = append(out, otsSHA256, otsSHA256)
	}
	payload := binary.AppendUvarint(nil, p.Height)
	out = append(append(out, otsAttestation), otsBlock[:]...)
	return append(binary.AppendUvarint(out, uint64(len(payload))), payload...), nil
}

// Stamp is what an .ots file says.
type Stamp struct {
	Digest vaultmesh.Digest // SHA-256 of the stamped file
	Blocks []Attestation    // in the order of the file
	Others int              // attestations of other kinds, which nothing here judges
}

// Attestation claims that the block at Height has the Merkle root Root.
type Attestation struct {
	Height uint64
	Root   Hash
}

// ReadOTS reads an OpenTimestamps file and carries its operations out. It knows files over SHA-256 and the operations
// append, prepend and SHA-256, which is what stamps in Bitcoin are made of; another one is Invalid. What an attestation
// claims is not judged: compare it with a header, as [VerifyOTS] does.
func ReadOTS(data []byte) (Stamp, error) {
	const op = "bitcoin.ots"
	if len(data) > MaxOTS {
		return Stamp{}, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "it has %d bytes, the limit is %d", len(data), MaxOTS)
	}
	head := len(otsMagic) + 2 + 32
	if len(data) < head || string(data[:len(otsMagic)]) != otsMagic || data[len(otsMagic)] != otsVersion || data[len(otsMagic)+1] != otsSHA256 {
		return Stamp{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "not an OpenTimestamps file of version 1 over SHA-256")
	}
	r := otsReader{data: data, pos: head}
	r.stamp.Digest = vaultmesh.Digest(data[head-32 : head])
	if err := r.tree(r.stamp.Digest[:]); err != nil {
		return Stamp{}, err
	}
	if r.pos != len(data) {
		return Stamp{}, r.malformed("data after the end")
	}
	return r.stamp, nil
}

type otsReader struct {
	data       []byte
	pos        int
	operations int
	stamp      Stamp
}

func (r *otsReader) malformed(format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.ots", "", "byte %d: "+format, append([]any{r.pos}, args...)...)
}

func (r *otsReader) take() (byte, error) {
	if r.pos >= len(r.data) {
		return 0, r.malformed("the file ends too early")
	}
	r.pos++
	return r.data[r.pos-1], nil
}

// bytes reads a length and as many bytes.
func (r *otsReader) bytes(least, most uint64) ([]byte, error) {
	n, k := binary.Uvarint(r.data[r.pos:])
	if k <= 0 || n < least || n > most || n > uint64(len(r.data)-r.pos-k) {
		return nil, r.malformed("a length that is not %d to %d, or beyond the end", least, most)
	}
	r.pos += k + int(n)
	return r.data[r.pos-int(n) : r.pos], nil
}

// tree reads the operations that follow from message. Forks are kept on a stack of our own: a file cannot make it deeper
// than its bounded number of operations.
func (r *otsReader) tree(message []byte) error {
	open := [][]byte{message} // messages whose branches are still to be read
	for len(open) > 0 {
		message := open[len(open)-1]
		open = open[:len(open)-1]
		for ended := false; !ended; {
			tag, err := r.take()
			if err != nil {
				return err
			}
			if r.operations++; r.operations > maxOperations {
				return vaultmesh.Errorf(vaultmesh.TooLarge, "bitcoin.ots", "", "more than %d operations", maxOperations)
			}
			switch tag {
			case otsFork: // one branch follows here, the rest after it
				open = append(open, message)
			case otsAttestation:
				err, ended = r.attestation(message), true
			default:
				message, err = r.operation(tag, message)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *otsReader) operation(tag byte, message []byte) ([]byte, error) {
	switch tag {
	case otsSHA256:
		sum := sha256.Sum256(message)
		return sum[:], nil
	case otsAppend, otsPrepend:
		operand, err := r.bytes(1, MaxTx)
		if err != nil {
			return nil, err
		}
		if len(message)+len(operand) > MaxTx {
			return nil, r.malformed("a result of more than %d bytes", MaxTx)
		}
		if tag == otsAppend {
			return append(append(make([]byte, 0, len(message)+len(operand)), message...), operand...), nil
		}
		return append(append(make([]byte, 0, len(message)+len(operand)), operand...), message...), nil
	}
	return nil, r.malformed("operation %#02x is not one of SHA-256, append and prepend", tag)
}

func (r *otsReader) attestation(message []byte) error {
	if len(r.data)-r.pos < 8 {
		return r.malformed("the file ends too early")
	}
	tag := [8]byte(r.data[r.pos:])
	r.pos += 8
	payload, err := r.bytes(0, maxPayload)
	if err != nil {
		return err
	}
	if len(r.stamp.Blocks)+r.stamp.Others >= maxAttestations {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "bitcoin.ots", "", "more than %d attestations", maxAttestations)
	}
	if tag != otsBlock {
		r.stamp.Others++
		return nil
	}
	height, n := binary.Uvarint(payload)
	if n <= 0 || n != len(payload) || height > math.MaxInt32 || len(message) != 32 {
		return r.malformed("an attestation by a Bitcoin block without a height or over something that is no Merkle root")
	}
	r.stamp.Blocks = append(r.stamp.Blocks, Attestation{Height: height, Root: Hash(message)})
	return nil
}

// VerifyOTS judges an .ots file by the proof beside it: the file is over digest, and one of its attestations is by the
// very block that the proof, which must hold under p, is about.
func VerifyOTS(ots, proof []byte, digest vaultmesh.Digest, p Params) (Result, error) {
	const op = "bitcoin.ots"
	r, err := Verify(proof, digest, p)
	if err != nil {
		return Result{}, err
	}
	s, err := ReadOTS(ots)
	if err != nil {
		return Result{}, err
	}
	if s.Digest != digest {
		return Result{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the file stamps %s, not %s", s.Digest, digest)
	}
	d, err := Decode(proof)
	if err != nil {
		return Result{}, err
	}
	for _, a := range s.Blocks {
		if a.Height == d.Height && a.Root == d.Header.Root() {
			return r, nil
		}
	}
	return Result{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, r.Block.String(), "no attestation of the file is by this block at height %d", d.Height)
}
