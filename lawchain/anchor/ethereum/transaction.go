package ethereum

import (
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// dynamicFee is the type of transactions with a base fee and a tip (EIP-1559, enveloped as in EIP-2718).
const dynamicFee = 2

// transaction is an unsigned one of type 2 without value and access list.
type transaction struct {
	chain  uint64
	nonce  uint64
	tip    *big.Int     // max_priority_fee_per_gas, wei
	maxFee *big.Int     // max_fee_per_gas, wei
	gas    uint64       // gas_limit
	to     *eth.Address // nil creates a contract
	input  []byte
}

// sign returns the transaction as it is sent, and its hash. The signature is deterministic (RFC 6979) and its s in the
// lower half (EIP-2), so that the same transaction always has the same hash.
func (t *transaction) sign(k *Key) (raw []byte, id eth.Hash) {
	body := t.fields()
	digest := eth.Keccak(append([]byte{dynamicFee}, rlp.AppendList(nil, body)...))
	// One byte of recovery code (27 and the parity of R's y, plus 2 where R's x exceeds the order, which is next to
	// impossible), then r and s.
	sig := ecdsa.SignCompact(k.key, digest[:], false)
	body = rlp.AppendUint(body, uint64(sig[0]-27)&1)
	body = rlp.AppendInt(body, sig[1:33])
	body = rlp.AppendInt(body, sig[33:65])
	raw = append([]byte{dynamicFee}, rlp.AppendList(nil, body)...)
	return raw, eth.Keccak(raw)
}

func (t *transaction) fields() []byte {
	b := rlp.AppendUint(nil, t.chain)
	b = rlp.AppendUint(b, t.nonce)
	b = rlp.AppendInt(b, t.tip.Bytes())
	b = rlp.AppendInt(b, t.maxFee.Bytes())
	b = rlp.AppendUint(b, t.gas)
	if t.to == nil {
		b = rlp.AppendBytes(b, nil)
	} else {
		b = rlp.AppendBytes(b, t.to[:])
	}
	b = rlp.AppendUint(b, 0)
	b = rlp.AppendBytes(b, t.input)
	return rlp.AppendList(b, nil)
}

// addressOf is the account of a public key: the last 20 bytes of the digest of its point without prefix.
func addressOf(p *secp256k1.PublicKey) eth.Address {
	h := eth.Keccak(p.SerializeUncompressed()[1:])
	return eth.Address(h[12:])
}

// created is the address of the contract that an account creates with a nonce.
func created(by eth.Address, nonce uint64) eth.Address {
	h := eth.Keccak(rlp.AppendList(nil, rlp.AppendUint(rlp.AppendBytes(nil, by[:]), nonce)))
	return eth.Address(h[12:])
}

// parseWei reads a decimal amount.
func parseWei(what, s string) (*big.Int, error) {
	if s == "" || len(s) > 78 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.wei", what, "%.80q is not a whole number of wei", s)
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.wei", what, "%.80q is not a whole number of wei", s)
		}
	}
	n, _ := new(big.Int).SetString(s, 10)
	return n, nil
}
