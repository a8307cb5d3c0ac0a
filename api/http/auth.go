package httpapi

import (
	"crypto/ed25519"
	"net/http"
	"net/netip"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/receipt"
)

// The headers of a request, each at most once.
const (
	CapabilityHeader = "VaultMesh-Capability" // the token's text
	ProofHeader      = "VaultMesh-Proof"      // the holder's signature over this request
	KeyHeader        = "Idempotency-Key"      // may repeat the key of a command's body
)

// authenticator proves who calls. It is safe for concurrent use.
type authenticator struct {
	domain  vaultmesh.Domain
	root    ed25519.PublicKey
	revoked func(vaultmesh.Digest) bool
	skew    time.Duration
	replays *capability.ReplayCache
}

func newAuthenticator(o Options) *authenticator {
	return &authenticator{
		domain: o.Domain, root: o.Root, revoked: o.Revoked, skew: o.Limits.Skew,
		// One owner may take half, so that it cannot lock the others out.
		replays: capability.NewReplayCache(o.Limits.Replays, max(1, o.Limits.Replays/2), 2*o.Limits.Skew),
	}
}

// token verifies the capability of r and returns the caller that it names, whose possession of the key is not
// proved yet.
func (a *authenticator) token(r *http.Request, now time.Time) (control.Caller, error) {
	text, err := single(r, CapabilityHeader, "send the token of the domain's capability root")
	if err != nil {
		return control.Caller{}, err
	}
	v, err := a.verify(text, now)
	if err != nil {
		return control.Caller{}, vaultmesh.Wrap(err, "authenticate", CapabilityHeader)
	}
	return control.Caller{Principal: v.Principal, Capability: v, Token: text, Key: v.Holder}, nil
}

func (a *authenticator) verify(text string, now time.Time) (*capability.Verified, error) {
	t, err := capability.Parse(text)
	if err != nil {
		return nil, err
	}
	v, err := capability.Verify(t, a.root, now, a.domain)
	if err != nil {
		return nil, err
	}
	if block, yes := v.Revoked(a.revoked); yes {
		return nil, vaultmesh.Errorf(vaultmesh.Denied, "capability.verify", "revoked", "the block %s is revoked", block).WithFix("ask for a new token")
	}
	return &v, nil
}

// possession proves that the caller holds the key of its token, by the proof over this request or by a TLS client
// certificate for the same key, of which the handshake has proved possession.
func (a *authenticator) possession(r *http.Request, body []byte, who *control.Caller, now time.Time) error {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && r.Header.Get(ProofHeader) == "" {
		if key, ok := r.TLS.PeerCertificates[0].PublicKey.(ed25519.PublicKey); ok && key.Equal(who.Key) {
			return nil
		}
	}
	text, err := single(r, ProofHeader, "sign the request with the token's last key, or use that key's TLS client certificate")
	if err != nil {
		return err
	}
	target := capability.Target{Domain: a.domain, Method: r.Method, Path: r.RequestURI, Body: vaultmesh.Sum(body)}
	nonce, err := capability.VerifyProof(text, target, who.Key, now, a.skew)
	if err != nil {
		return vaultmesh.Wrap(err, "authenticate", ProofHeader)
	}
	if err := a.replays.Use(who.Capability.Holders[0], who.Key, nonce, now); err != nil {
		return vaultmesh.Wrap(err, "authenticate", ProofHeader)
	}
	who.Proof = text
	who.Target = &receipt.ProofTarget{Method: target.Method, Path: target.Path, Body: target.Body}
	return nil
}

// single returns the value of a header that must be there exactly once: of two, a proxy and the node might each
// read another.
func single(r *http.Request, header, fix string) (string, error) {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return "", vaultmesh.Errorf(vaultmesh.Denied, "authenticate", header, "the header is missing").WithFix("%s", fix)
	}
	if len(values) != 1 || values[0] == "" {
		return "", vaultmesh.Errorf(vaultmesh.Denied, "authenticate", header, "the header is there %d times, want one", len(values)).WithFix("%s", fix)
	}
	return values[0], nil
}

// mayRead reports whether the caller may read a twin; the empty twin stands for the whole domain.
func mayRead(c control.Caller, id vaultmesh.TwinID) error {
	return c.Capability.Allows(capability.Action{Verb: capability.Read, Twin: id})
}

// peerIn reports whether the peer's address is in one of the prefixes. A proxy's headers are not believed.
func peerIn(remote string, prefixes []netip.Prefix) bool {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, p := range prefixes {
		if p.Contains(a.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}
