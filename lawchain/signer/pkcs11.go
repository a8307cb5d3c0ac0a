//go:build cgo

package signer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"time"

	"github.com/miekg/pkcs11"

	"vaultmesh.org/vaultmesh"
)

// PKCS11 reports whether this build can speak to tokens: it needs a C compiler (cgo).
const PKCS11 = true

// Mechanisms and parameters of PKCS#11 v3.0, which the binding does not name.
const (
	ckmEdwardsKeyPairGen = 0x1055
	ckmEdDSA             = 0x1057
)

// oidEd25519 is CKA_EC_PARAMS of ed25519: the DER of OID 1.3.101.112 (RFC 8410).
var oidEd25519 = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}

// token is a key that never leaves its token. One session, one signature at a time: what a root signs, it signs rarely.
type token struct {
	c      Config
	public ed25519.PublicKey

	turn chan struct{} // holds one value while Sign has a call in the library: nobody else waits in there

	mu      sync.Mutex // held while the token works
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
	private pkcs11.ObjectHandle
	open    bool
	refused error // the token refused the PIN: it is not asked again, since tokens lock after a few wrong ones
}

// modules are the libraries that this process initialised: PKCS#11 allows that once for each. They stay until it ends.
var modules struct {
	sync.Mutex
	open map[string]*pkcs11.Ctx
}

func module(path string) (*pkcs11.Ctx, error) {
	modules.Lock()
	defer modules.Unlock()
	if m := modules.open[path]; m != nil {
		return m, nil
	}
	m := pkcs11.New(path)
	if m == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "pkcs11.open", path, "it cannot be loaded as a PKCS#11 library").WithFix("give the path of the vendor's .so, for example libsofthsm2.so")
	}
	if err := m.Initialize(); err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		m.Destroy()
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "pkcs11.open", path, "the library does not start").Because(err)
	}
	if modules.open == nil {
		modules.open = map[string]*pkcs11.Ctx{}
	}
	modules.open[path] = m
	return m, nil
}

func is(err error, code uint) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && uint(e) == code
}

func newToken(c Config) *token { return &token{c: c, turn: make(chan struct{}, 1)} }

func openPKCS11(c Config) (Key, error) {
	t := newToken(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.login(); err != nil {
		return nil, err
	}
	if err := t.find(); err != nil {
		t.logout()
		return nil, err
	}
	return t, nil
}

// login opens a session; mu is held.
func (t *token) login() error {
	const op = "pkcs11.open"
	if t.open || t.refused != nil {
		return t.refused
	}
	m, err := module(t.c.Module)
	if err != nil {
		return err
	}
	slot, err := slotOf(m, t.c.Token)
	if err != nil {
		return err
	}
	pin, err := ReadSecret(t.c.PINFile)
	if err != nil {
		return err
	}
	session, err := m.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, t.c.Token, "no session").Because(err)
	}
	if err := m.Login(session, pkcs11.CKU_USER, pin); err != nil && !is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		_ = m.CloseSession(session)
		refusal := vaultmesh.Errorf(vaultmesh.Unavailable, op, t.c.Token, "the token refuses the login").Because(err).WithFix("check the PIN in %s", t.c.PINFile)
		if is(err, pkcs11.CKR_PIN_INCORRECT) || is(err, pkcs11.CKR_PIN_LOCKED) || is(err, pkcs11.CKR_PIN_INVALID) {
			refusal.Kind = vaultmesh.Denied
			t.refused = refusal
		}
		return refusal
	}
	t.module, t.session, t.open = m, session, true
	return nil
}

func slotOf(m *pkcs11.Ctx, label string) (uint, error) {
	slots, err := m.GetSlotList(true)
	if err != nil {
		return 0, vaultmesh.Errorf(vaultmesh.Unavailable, "pkcs11.open", label, "the library lists no slots").Because(err)
	}
	found, n := uint(0), 0
	for _, s := range slots {
		if info, err := m.GetTokenInfo(s); err == nil && info.Label == label {
			found, n = s, n+1
		}
	}
	if n != 1 {
		return 0, vaultmesh.Errorf(vaultmesh.Unavailable, "pkcs11.open", label, "%d tokens have this label among %d slots, want one", n, len(slots))
	}
	return found, nil
}

// find looks up the key pair and reads the public half; mu is held.
func (t *token) find() error {
	const op = "pkcs11.open"
	private, err := t.object(pkcs11.CKO_PRIVATE_KEY)
	if err != nil {
		return err
	}
	public, err := t.object(pkcs11.CKO_PUBLIC_KEY)
	if err != nil {
		return err
	}
	attributes, err := t.module.GetAttributeValue(t.session, public, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil || len(attributes) != 1 {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, t.c.Key, "the token does not show the public key").Because(err)
	}
	point := attributes[0].Value
	// A DER OCTET STRING by PKCS#11 v3.0; some tokens give the bare 32 bytes.
	if len(point) == 2+ed25519.PublicKeySize && point[0] == 0x04 && point[1] == ed25519.PublicKeySize {
		point = point[2:]
	}
	if len(point) != ed25519.PublicKeySize {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, t.c.Key, "its public key has %d bytes: not an ed25519 key", len(point)).WithFix("make one with: vaultmesh key root --generate")
	}
	if t.public != nil && !t.public.Equal(ed25519.PublicKey(point)) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, t.c.Key, "another key is in its place")
	}
	t.public, t.private = append(ed25519.PublicKey(nil), point...), private
	return nil
}

func (t *token) object(class uint) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.c.Key)}
	if err := t.module.FindObjectsInit(t.session, template); err != nil {
		return 0, vaultmesh.Errorf(vaultmesh.Unavailable, "pkcs11.open", t.c.Key, "cannot search the token").Because(err)
	}
	found, _, err := t.module.FindObjects(t.session, 2)
	err = errors.Join(err, t.module.FindObjectsFinal(t.session))
	if err != nil || len(found) != 1 {
		return 0, vaultmesh.Errorf(vaultmesh.NotFound, "pkcs11.open", t.c.Key, "%d objects of class %d have this label, want one", len(found), class).Because(err).
			WithFix("make the key pair with: vaultmesh key root --generate")
	}
	return found[0], nil
}

func (t *token) logout() {
	if t.open {
		_ = t.module.CloseSession(t.session)
		t.open = false
	}
}

func (t *token) Public() ed25519.PublicKey { return t.public }

func (t *token) Where() string { return "PKCS#11 token " + t.c.Token + ", key " + t.c.Key }

// Close waits for the call that is under way.
func (t *token) Close() error {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logout()
	return nil
}

// Sign asks the token. A call into the library cannot be interrupted: where ctx or the timeout ends first, the caller
// gets an error, and the next one waits until the library has returned, for as long as its own time lasts. So there is one
// call under way at most, for which Close waits, and whoever gave up before their turn is not signed for.
func (t *token) Sign(ctx context.Context, message []byte) ([]byte, error) {
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	timer := time.NewTimer(t.c.Timeout)
	defer timer.Stop()
	late := vaultmesh.Errorf(vaultmesh.Unavailable, "key.sign", t.Where(), "the token did not sign in time")
	select {
	case t.turn <- struct{}{}:
	case <-timer.C:
		return nil, late
	case <-ctx.Done():
		return nil, late.Because(ctx.Err())
	}
	go func() {
		defer func() { <-t.turn }()
		t.mu.Lock()
		defer t.mu.Unlock()
		s, err := t.sign(message)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return checked(t, message, r.signature)
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, late.Because(ctx.Err())
}

// sign signs, once more with a new session where the old one is gone; mu is held.
func (t *token) sign(message []byte) (signature []byte, err error) {
	for range 2 {
		if !t.open {
			if err = t.login(); err == nil {
				err = t.find()
			}
			if err != nil {
				t.logout()
				return nil, err
			}
		}
		if err = t.module.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmEdDSA, nil)}, t.private); err == nil {
			if signature, err = t.module.Sign(t.session, message); err == nil {
				return signature, nil
			}
		}
		t.logout()
	}
	return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "key.sign", t.Where(), "the token did not sign").Because(err)
}

// Generate makes an ed25519 key pair inside the token, whose private half cannot be read out. It refuses a label that
// is taken.
func Generate(c Config) (ed25519.PublicKey, error) {
	const op = "pkcs11.generate"
	t := newToken(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.login(); err != nil {
		return nil, err
	}
	defer t.logout()
	if _, err := t.object(pkcs11.CKO_PRIVATE_KEY); vaultmesh.KindOf(err) != vaultmesh.NotFound || err == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, op, c.Key, "the token has a key of this label").Because(err)
	}
	id := []byte(c.Key)
	_, _, err := t.module.GenerateKeyPair(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmEdwardsKeyPairGen, nil)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, oidEd25519), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
			pkcs11.NewAttribute(pkcs11.CKA_LABEL, c.Key), pkcs11.NewAttribute(pkcs11.CKA_ID, id)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, c.Key), pkcs11.NewAttribute(pkcs11.CKA_ID, id)})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, op, c.Token, "the token makes no ed25519 key").Because(err).WithFix("the token must know CKM_EC_EDWARDS_KEY_PAIR_GEN and CKM_EDDSA (PKCS#11 v3.0)")
	}
	if err := t.find(); err != nil {
		return nil, err
	}
	return t.public, nil
}
