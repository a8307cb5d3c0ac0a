package bitcoin

import (
	"io"

	"github.com/btcsuite/btcd/address/v2"
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/txscript/v2"

	"vaultmesh.org/vaultmesh"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// networks are those whose proofs can be verified.
var networks = map[string]*chaincfg.Params{
	spv.Mainnet: &chaincfg.MainNetParams, spv.Testnet4: &chaincfg.TestNet4Params, spv.Signet: &chaincfg.SigNetParams, spv.Regtest: &chaincfg.RegressionNetParams,
}

// key pays for anchors: one private key, one address (P2WPKH, BIP 173), to which the change goes back.
type key struct {
	private *btcec.PrivateKey
	address string
	script  []byte // of outputs that it may spend
}

func network(name string) (*chaincfg.Params, error) {
	net, ok := networks[name]
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bitcoin.network", "", "%.40q", name).WithFix("use mainnet, testnet4, signet or regtest")
	}
	return net, nil
}

func newKey(wif *btcutil.WIF, net *chaincfg.Params) (*key, error) {
	a, err := address.NewAddressWitnessPubKeyHash(address.Hash160(wif.SerializePubKey()), net)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bitcoin.key", "", "no address").Because(err)
	}
	script, err := txscript.PayToAddrScript(a)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bitcoin.key", "", "no script").Because(err)
	}
	return &key{private: wif.PrivKey, address: a.EncodeAddress(), script: script}, nil
}

// readKey reads a key file: one line in wallet import format (WIF), compressed, of the right network.
func readKey(path string, net *chaincfg.Params) (*key, error) {
	const op = "bitcoin.key"
	text, err := readSecret(path)
	if err != nil {
		return nil, vaultmesh.Wrap(err, op, path)
	}
	wif, err := btcutil.DecodeWIF(text)
	if err != nil || !wif.CompressPubKey { // its error may hold a part of the key
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "it does not hold a private key in wallet import format (compressed)")
	}
	if !wif.IsForNet(net) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, path, "the key is not one of %s", net.Name).WithFix("keep one key for each network")
	}
	return newKey(wif, net)
}

// GenerateKey makes a private key from 32 bytes of random and returns the text of its file, which is a secret, and the
// address to which coins for anchors are to be sent.
func GenerateKey(networkName string, random io.Reader) (text, addr string, err error) {
	const op = "bitcoin.key"
	net, err := network(networkName)
	if err != nil {
		return "", "", err
	}
	var seed [32]byte
	for {
		if _, err := io.ReadFull(random, seed[:]); err != nil {
			return "", "", vaultmesh.Errorf(vaultmesh.Internal, op, "", "no randomness").Because(err)
		}
		var scalar btcec.ModNScalar
		if overflow := scalar.SetBytes(&seed); overflow != 0 || scalar.IsZero() {
			continue
		}
		private, _ := btcec.PrivKeyFromBytes(seed[:])
		wif, err := btcutil.NewWIF(private, net, true)
		if err != nil {
			return "", "", vaultmesh.Errorf(vaultmesh.Internal, op, "", "it cannot be encoded").Because(err)
		}
		k, err := newKey(wif, net)
		if err != nil {
			return "", "", err
		}
		return wif.String() + "\n", k.address, nil
	}
}
