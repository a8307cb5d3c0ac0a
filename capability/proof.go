package capability

import (
	"crypto/ed25519"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Bounds of a proof of possession.
const (
	MaxProof    = 512
	MinNonce    = 16
	MaxNonce    = 64
	maxTarget   = 2 << 10
	proofPrefix = "vmp1"
)

// proofContext separates a proof's signature from every other use of the key.
const proofContext = "vaultmesh.org/proof/v1\n"

// Target is the one request that a proof is good for.
type Target struct {
	Domain vaultmesh.Domain // the domain that is asked
	Method string           // "POST", or "mcp" for a tool call
	Path   string           // the path with its query, or the tool's name
	Body   vaultmesh.Digest // SHA-256 of the exact bytes of the body; of no bytes where there is none
}

// SignProof proves possession of key for one request, as text of at most [MaxProof] bytes: "vmp1.", microseconds since
// 1970, a dot, the nonce, a dot, the signature in base64url. A nonce has 16 to 64 letters, digits, - or _ and must not
// be used again; an unusable key or nonce gives a text that verifies nowhere.
func SignProof(key ed25519.PrivateKey, target Target, now time.Time, nonce string) string {
	if len(key) != ed25519.PrivateKeySize {
		return ""
	}
	us := now.UnixMicro()
	sig := ed25519.Sign(key, proofMessage(target, us, nonce))
	return proofPrefix + "." + strconv.FormatInt(us, 10) + "." + nonce + "." + b64.EncodeToString(sig)
}

// VerifyProof checks that holder signed text for target at a time within skew of now, and returns the nonce, which the
// caller must refuse to see twice within 2*skew: see [ReplayCache]. Errors are of kind Invalid, Denied or Expired.
func VerifyProof(text string, target Target, holder ed25519.PublicKey, now time.Time, skew time.Duration) (nonce string, err error) {
	const op = "capability.proof"
	if len(text) > MaxProof {
		return "", vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(text), MaxProof)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != proofPrefix {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, "", "want %q, a time, a nonce and a signature, joined by dots", proofPrefix)
	}
	us, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || us <= 0 || strconv.FormatInt(us, 10) != parts[1] {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, "time", "not a number of microseconds since 1970")
	}
	if !isNonce(parts[2]) {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, "nonce", "want %d to %d letters, digits, - or _", MinNonce, MaxNonce)
	}
	sig, err := b64.DecodeString(parts[3])
	if err != nil || len(sig) != ed25519.SignatureSize || b64.EncodeToString(sig) != parts[3] {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, op, "signature", "not %d bytes in base64url", ed25519.SignatureSize)
	}
	if len(target.Method) > maxTarget || len(target.Path) > maxTarget {
		return "", vaultmesh.Errorf(vaultmesh.TooLarge, op, "target", "the method or path is longer than %d bytes", maxTarget)
	}
	if len(holder) != ed25519.PublicKeySize || !ed25519.Verify(holder, proofMessage(target, us, parts[2]), sig) {
		return "", vaultmesh.Errorf(vaultmesh.Denied, op, "signature", "it is not the holder's signature over this request").
			WithFix("sign the domain, method, path, body digest, time and nonce of this very request with the token's last key")
	}
	age := now.Sub(time.UnixMicro(us))
	if age > skew || age < -skew {
		return "", vaultmesh.Errorf(vaultmesh.Expired, op, "time", "made %s from now, the limit is %s", age, skew).
			WithFix("set the clock and make a new proof")
	}
	return parts[2], nil
}

// proofMessage is what is signed; every text is preceded by its length, so that no two requests have one message.
func proofMessage(t Target, us int64, nonce string) []byte {
	m := []byte(proofContext)
	for _, s := range []string{string(t.Domain), t.Method, t.Path, nonce} {
		m = binary.BigEndian.AppendUint32(m, uint32(len(s)))
		m = append(m, s...)
	}
	m = append(m, t.Body[:]...)
	return binary.BigEndian.AppendUint64(m, uint64(us))
}

func isNonce(s string) bool {
	if len(s) < MinNonce || len(s) > MaxNonce {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
