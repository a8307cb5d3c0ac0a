package tsa

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Authority is a time-stamping authority for development and tests: its time is this machine's, and its keys lie in
// memory. Nobody but its owner has a reason to trust it. It is safe for concurrent use.
type Authority struct {
	root     *x509.Certificate
	signer   *x509.Certificate
	key      *ecdsa.PrivateKey
	now      func() time.Time
	accuracy time.Duration // that the stamps state
}

// policyOID is the policy under which the development authority stamps: the documentation arc 2.999 (ITU-T X.660), so that
// no one can take it for a real one.
var policyOID = asn1.ObjectIdentifier{2, 999, 3161}

// toTheSecond is the accuracy of the stamps.
const toTheSecond = time.Second

// lifetime of a development authority's certificates.
const lifetime = 10 * 365 * 24 * time.Hour

// NewAuthority makes a root (P-256), signs one time-stamping certificate with the critical extended key usage
// timeStamping, and forgets the root's private key. now is the clock that stamps.
func NewAuthority(now func() time.Time) (*Authority, error) {
	const op = "tsa.new"
	start := now().UTC().Add(-time.Minute).Truncate(time.Second)
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no root key").Because(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no signing key").Because(err)
	}
	root := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"VaultMesh development"}, CommonName: "VaultMesh development TSA root"},
		NotBefore: start, NotAfter: start.Add(lifetime), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if root, err = issue(root, root, rootKey, &rootKey.PublicKey); err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "key usage").Because(err)
	}
	signer := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"VaultMesh development"}, CommonName: "VaultMesh development TSA"},
		NotBefore: start, NotAfter: start.Add(lifetime), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		// crypto/x509 writes this extension as not critical; RFC 3161 section 2.3 wants it critical.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	if signer, err = issue(signer, root, rootKey, &key.PublicKey); err != nil {
		return nil, err
	}
	return &Authority{root: root, signer: signer, key: key, now: now, accuracy: toTheSecond}, nil
}

func issue(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, public *ecdsa.PublicKey) (*x509.Certificate, error) {
	const op = "tsa.new"
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no serial number").Because(err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, parentKey)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, "", "no certificate").Because(err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, vaultmesh.Wrap(err, op, "certificate")
}

// RootPEM returns the root certificate, for trust files and `openssl ts -verify -CAfile`.
func (a *Authority) RootPEM() []byte { return certPEM(a.root) }

// Roots returns a pool that holds the root certificate alone.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// PEM returns the root, the signing certificate and its private key (PKCS #8), in this order: everything that
// [ParseAuthority] needs to go on stamping after a restart. It is a secret.
func (a *Authority) PEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "tsa.pem", "", "the key cannot be encoded").Because(err)
	}
	text := append(certPEM(a.root), certPEM(a.signer)...)
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// ParseAuthority reads what [Authority.PEM] wrote. Errors are of kind Invalid and never hold any of the text.
func ParseAuthority(text []byte, now func() time.Time) (*Authority, error) {
	const op = "tsa.parse"
	var blocks []*pem.Block
	for block, rest := pem.Decode(text); block != nil && len(blocks) < 4; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	if len(blocks) != 3 || blocks[0].Type != "CERTIFICATE" || blocks[1].Type != "CERTIFICATE" || blocks[2].Type != "PRIVATE KEY" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "want root certificate, signing certificate and private key in PEM")
	}
	a := &Authority{now: now, accuracy: toTheSecond}
	var err error
	if a.root, err = x509.ParseCertificate(blocks[0].Bytes); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "root", "no certificate").Because(err)
	}
	if a.signer, err = x509.ParseCertificate(blocks[1].Bytes); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "signer", "no certificate").Because(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[2].Bytes)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "key", "no PKCS #8 key")
	}
	var ok bool
	if a.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "key", "not an ECDSA key")
	}
	public, err := x509.MarshalPKIXPublicKey(&a.key.PublicKey)
	if err != nil || !bytes.Equal(public, a.signer.RawSubjectPublicKeyInfo) || a.signer.CheckSignatureFrom(a.root) != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "root, signing certificate and key do not belong together")
	}
	return a, nil
}
