package receipt

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"time"

	"crypto"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"

	"vaultmesh.org/vaultmesh"
)

// Timestamp is what a verified RFC 3161 response says: the digest existed at Time, give or take Accuracy.
type Timestamp struct {
	Time     time.Time // UTC
	Accuracy time.Duration
	Serial   *big.Int
	Nonce    *big.Int // nil where the request had none
	Signer   string   // subject of the signing certificate
}

// MaxAccuracy bounds what an authority may say of its own accuracy: a stamp that may be off by more dates nothing, and would
// let receipts be written as long after it.
const MaxAccuracy = time.Hour

// Object identifiers of RFC 3161, RFC 5035 and RFC 5652.
var (
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidSigningCertV1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidExtKeyUsage   = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// cmsMu serialises the CMS parser, which counts its depth in a package variable.
var cmsMu sync.Mutex

// VerifyTimestamp checks that response is a granted RFC 3161 response of at most 16 KiB over digest (SHA-256), signed by
// a certificate that it carries, whose chain leads to one of roots and was valid at the token's own time, with the
// critical extended key usage timeStamping and no other (RFC 3161 section 2.3), and with an accuracy of at most [MaxAccuracy]. Errors are of kind Invalid, TooLarge,
// Corrupt, or Denied where the chain leads to no root of the pool.
func VerifyTimestamp(response []byte, digest vaultmesh.Digest, roots *x509.CertPool) (ts Timestamp, err error) {
	const op = "timestamp.verify"
	if len(response) > maxTimestamp {
		return ts, vaultmesh.Errorf(vaultmesh.TooLarge, op, "", "%d bytes, the limit is %d", len(response), maxTimestamp)
	}
	if roots == nil {
		return ts, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "no root certificate of a time-stamping authority is pinned")
	}
	cmsMu.Lock()
	defer cmsMu.Unlock()
	defer func() {
		// The CMS parser is not ours and reads bytes of strangers: its panic is a malformed response.
		if r := recover(); r != nil {
			ts, err = Timestamp{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "malformed CMS")
		}
	}()
	token, err := timestamp.ParseResponse(response)
	if err != nil {
		return ts, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "not a granted response with a valid token").Because(err)
	}
	if token.HashAlgorithm != crypto.SHA256 || !bytes.Equal(token.HashedMessage, digest[:]) {
		return ts, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the token is about %s %x, not about %s", token.HashAlgorithm, token.HashedMessage, digest)
	}
	for _, e := range token.Extensions {
		if e.Critical {
			return ts, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the token has an unknown critical extension %s", e.Id)
		}
	}
	if token.Accuracy < 0 || token.Accuracy > MaxAccuracy {
		return ts, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the authority says that the time may be off by %s, at most %s is accepted", token.Accuracy, MaxAccuracy)
	}
	signer, err := verifyToken(token.RawToken, token.Time, roots)
	if err != nil {
		return ts, err
	}
	return Timestamp{Time: token.Time.UTC(), Accuracy: token.Accuracy, Serial: token.SerialNumber, Nonce: token.Nonce, Signer: signer.Subject.String()}, nil
}

// verifyToken checks signature, signed attributes and chain of a time-stamp token at the time that it states.
func verifyToken(raw []byte, at time.Time, roots *x509.CertPool) (*x509.Certificate, error) {
	const op = "timestamp.verify"
	p7, err := pkcs7.Parse(raw)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "malformed CMS").Because(err)
	}
	signer := p7.GetOnlySigner()
	if signer == nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the token does not hold the certificate of exactly one signer").
			WithFix("ask for the certificate in the request (certReq)")
	}
	// Without signed attributes a signature over other content of the same bytes could be passed off as a token.
	var contentType asn1.ObjectIdentifier
	if err := p7.UnmarshalSignedAttribute(oidContentType, &contentType); err != nil || !contentType.Equal(oidTSTInfo) {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the signed content type is not that of a time-stamp token").Because(err)
	}
	if err := checkSigningCertificate(p7, signer); err != nil {
		return nil, err
	}
	if err := checkKeyUsage(signer); err != nil {
		return nil, err
	}
	intermediates := x509.NewCertPool()
	for _, c := range p7.Certificates {
		intermediates.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}}
	err = p7.VerifyWithOpts(opts)
	if err != nil {
		var unknown x509.UnknownAuthorityError
		if _, chain := signer.Verify(opts); errors.As(chain, &unknown) {
			return nil, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the certificate of %q leads to no pinned root", signer.Subject.String()).WithFix("pin the authority's root if you trust it")
		}
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "signature or certificate chain of %q", signer.Subject.String()).Because(err)
	}
	return signer, nil
}

// checkSigningCertificate compares the signed identifier of the signing certificate (RFC 5035, RFC 5816) with it, so
// that another certificate over the same key cannot be substituted. SHA-1 identifiers (RFC 2634) are refused.
func checkSigningCertificate(p7 *pkcs7.PKCS7, signer *x509.Certificate) error {
	var v2 struct {
		Certs []struct {
			Algorithm struct {
				OID        asn1.ObjectIdentifier
				Parameters asn1.RawValue `asn1:"optional"`
			} `asn1:"optional"`
			Hash []byte // what follows it, issuer and serial number, says nothing that the digest of the certificate does not
		}
		Policies asn1.RawValue `asn1:"optional"`
	}
	if err := p7.UnmarshalSignedAttribute(oidSigningCertV2, &v2); err != nil || len(v2.Certs) == 0 {
		var v1 asn1.RawValue
		e := vaultmesh.Errorf(vaultmesh.Corrupt, "timestamp.verify", "", "the token does not name its signing certificate (ESSCertIDv2)")
		if p7.UnmarshalSignedAttribute(oidSigningCertV1, &v1) == nil {
			e.WithFix("the authority names it by SHA-1; let it use SHA-256 (openssl: ess_cert_id_alg = sha256)")
		}
		return e
	}
	sum := sha256.Sum256(signer.Raw)
	if len(v2.Certs[0].Algorithm.OID) > 0 && !v2.Certs[0].Algorithm.OID.Equal(pkcs7.OIDDigestAlgorithmSHA256) || !bytes.Equal(v2.Certs[0].Hash, sum[:]) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "timestamp.verify", "", "the token names another signing certificate than it holds, or not by SHA-256")
	}
	return nil
}

func checkKeyUsage(c *x509.Certificate) error {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidExtKeyUsage) && e.Critical && len(c.ExtKeyUsage) == 1 && c.ExtKeyUsage[0] == x509.ExtKeyUsageTimeStamping && len(c.UnknownExtKeyUsage) == 0 {
			return nil
		}
	}
	return vaultmesh.Errorf(vaultmesh.Corrupt, "timestamp.verify", "", "the extended key usage of %q is not critical timeStamping alone", c.Subject.String())
}
