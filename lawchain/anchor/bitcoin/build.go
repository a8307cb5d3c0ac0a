package bitcoin

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// maxVersions bounds the transactions that are signed for one job.
const maxVersions = 8

// dust is the least value of an output that is made or spent; it is above what nodes refuse for any kind of script.
const dust = 546

// Virtual sizes (BIP 141) in weight units: of what every transaction of ours has, of an input with the longest signature,
// and of an output for the change.
const (
	weightBase   = 4*(4+1+1+4+8+1+34) + 2
	weightInput  = 4*41 + 1 + 1 + 72 + 1 + 33
	weightChange = 4 * (8 + 1 + 22)
)

// incremental is what a replacement pays in addition, in satoshi per virtual byte (BIP 125 rule 4).
const incremental = 1

// memo is what a job remembers: every transaction that was ever signed for it, oldest first. They
// spend one coin in common, so that at most one of them is ever mined: that is what keeps a job from being paid twice.
type memo struct {
	Address  string    `json:"address"` // of the key that signed
	Versions []version `json:"versions"`
	// Gone is the height at which a coin of theirs was first seen spent by somebody else; 0: it was not.
	Gone uint64 `json:"gone,omitempty"`
	// Since is when the newest version was last sent, or came back out of a block: from then on it may be stuck.
	Since time.Time `json:"since,omitzero"`
}

// version is a signed transaction.
type version struct {
	Tx     string    `json:"tx"` // with witness, hexadecimal
	Txid   string    `json:"txid"`
	Fee    int64     `json:"fee"`
	Size   int64     `json:"size"` // virtual bytes
	Values []int64   `json:"values"`
	Signed time.Time `json:"signed"`
}

// rate is in satoshi per 1000 virtual bytes.
func (v *version) rate() int64 { return v.Fee * 1000 / v.Size }

func (v *version) decode() (*wire.MsgTx, error) {
	raw, err := hex.DecodeString(v.Tx)
	var tx wire.MsgTx
	if err == nil {
		err = tx.Deserialize(bytes.NewReader(raw))
	}
	if err != nil || tx.TxID() != v.Txid || len(v.Values) != len(tx.TxIn) || v.Size <= 0 {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "bitcoin.memo", v.Txid, "the stored transaction is damaged")
	}
	return &tx, nil
}

func readMemo(raw json.RawMessage) (memo, error) {
	var m memo
	if len(raw) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(raw, &m); err != nil || len(m.Versions) > maxVersions {
		return m, vaultmesh.Errorf(vaultmesh.Corrupt, "bitcoin.memo", "", "the job's stored state is damaged")
	}
	return m, nil
}

func (m *memo) write() (json.RawMessage, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "bitcoin.memo", "", "it cannot be encoded").Because(err)
	}
	return raw, nil
}

// newest is the transaction that should be mined; nil where none is signed.
func (m *memo) newest() *version {
	if len(m.Versions) == 0 {
		return nil
	}
	return &m.Versions[len(m.Versions)-1]
}

// fee is the most that the job may cost: only one of its transactions can be mined.
func (m *memo) fee() int64 {
	var most int64
	for _, v := range m.Versions {
		most = max(most, v.Fee)
	}
	return most
}

func size(inputs int, change bool) int64 {
	w := int64(weightBase + inputs*weightInput)
	if change {
		w += weightChange
	}
	return (w + 3) / 4
}

func feeFor(rate, size int64) int64 { return (rate*size + 999) / 1000 }

// price returns the rate to pay, in satoshi per 1000 virtual bytes: what the node estimates, or the floor where it cannot,
// never outside of floor and cap. At the cap a transaction waits until the network is cheaper.
func (t *Target) price(ctx context.Context, least int64) (int64, error) {
	estimate, ok, err := t.node.feeRate(ctx, t.o.FeeTarget)
	if err != nil {
		return 0, err
	}
	if !ok {
		estimate = 0
	}
	return min(max(estimate, least, t.o.FeeFloor*1000), t.o.FeeCap*1000), nil
}

// build makes the first transaction of a generation.
func (t *Target) build(ctx context.Context, digest vaultmesh.Digest) (version, error) {
	const op = "bitcoin.build"
	rate, err := t.price(ctx, 0)
	if err != nil {
		return version{}, err
	}
	// The cap of one transaction may be tighter than that of the rate.
	if most := t.o.MaxFee * 1000 / size(1, true); rate > most {
		rate = most
	}
	if rate < t.o.FeeFloor*1000 {
		return version{}, vaultmesh.Errorf(vaultmesh.RateLimited, op, "", "at the least rate of %d sat/vB a transaction costs %d satoshi, the limit is %d", t.o.FeeFloor, feeFor(t.o.FeeFloor*1000, size(1, true)), t.o.MaxFee).
			WithFix("raise max_fee, or lower fee_floor")
	}
	withChange := func(n int) int64 { return feeFor(rate, size(n, true)) + dust }
	coins, err := t.coins(ctx, withChange)
	if err != nil {
		return version{}, err
	}
	chosen, ok := choose(coins, withChange)
	if !ok { // without change: what is left is less than an output may have
		chosen, ok = choose(coins, func(n int) int64 { return feeFor(rate, size(n, false)) })
	}
	if !ok {
		var sum int64
		for _, c := range coins {
			sum += c.value
		}
		return version{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, t.key.address, "confirmed coins of %d satoshi are there, an anchor costs %d now", sum, withChange(1)).
			WithFix("send bitcoin to %s, or wait until what was sent there is confirmed", t.key.address)
	}
	if fee := feeFor(rate, size(len(chosen), true)); fee > t.o.MaxFee {
		return version{}, vaultmesh.Errorf(vaultmesh.RateLimited, op, t.key.address, "it takes %d coins and so %d satoshi, the limit is %d", len(chosen), fee, t.o.MaxFee).
			WithFix("send one larger coin to %s, or raise max_fee", t.key.address)
	}
	return t.sign(digest, chosen, rate)
}

// bump makes a replacement for v that pays more, at least the given rate, with the same coins and more where they do not
// suffice. ok is false where
// the caps do not allow a replacement that nodes would take.
func (t *Target) bump(ctx context.Context, digest vaultmesh.Digest, v *version, least int64) (next version, ok bool, err error) {
	old, err := v.decode()
	if err != nil {
		return version{}, false, err
	}
	rate, err := t.price(ctx, max(least, v.rate()+incremental*1000+1))
	if err != nil {
		return version{}, false, err
	}
	var coins []coin
	var sum int64
	for i, in := range old.TxIn {
		coins = append(coins, coin{out: in.PreviousOutPoint, value: v.Values[i], script: t.key.script})
		sum += v.Values[i]
	}
	if want := feeFor(rate, size(len(coins), true)) + dust; sum < want && len(coins) < maxInputs {
		more, err := t.coins(ctx, func(int) int64 { return want })
		if err != nil {
			return version{}, false, err
		}
		for _, c := range more {
			if len(coins) < maxInputs && sum < feeFor(rate, size(len(coins), true))+dust && !slices.ContainsFunc(coins, func(o coin) bool { return o.out == c.out }) {
				coins, sum = append(coins, c), sum+c.value
			}
		}
	}
	// The change pays what the caps and the coins allow.
	n := size(len(coins), true)
	rate = min(rate, t.o.MaxFee*1000/n, max(sum-dust, 0)*1000/n)
	if fee := feeFor(rate, n); fee > t.o.MaxFee || fee < v.Fee+incremental*n || rate <= v.rate() {
		return version{}, false, nil
	}
	next, err = t.sign(digest, coins, rate)
	return next, err == nil, err
}

// sign makes and signs the transaction: the same input gives the same bytes (RFC 6979). Every input says that it may be
// replaced (BIP 125). The result was executed by the script engine: no node will find its signatures wrong.
func (t *Target) sign(digest vaultmesh.Digest, coins []coin, rate int64) (version, error) {
	const op = "bitcoin.sign"
	tx := wire.NewMsgTx(2)
	outputs := map[wire.OutPoint]*wire.TxOut{}
	v := version{Signed: t.o.Now().UTC().Truncate(time.Second)}
	var sum int64
	for _, c := range coins {
		in := wire.NewTxIn(&c.out, nil, nil)
		in.Sequence = wire.MaxTxInSequenceNum - 2
		tx.AddTxIn(in)
		outputs[c.out] = wire.NewTxOut(c.value, t.key.script)
		v.Values = append(v.Values, c.value)
		sum += c.value
	}
	tx.AddTxOut(wire.NewTxOut(0, spv.Script(digest)))
	v.Size, v.Fee = size(len(coins), false), sum
	if change := sum - feeFor(rate, size(len(coins), true)); change >= dust {
		tx.AddTxOut(wire.NewTxOut(change, t.key.script))
		v.Size, v.Fee = size(len(coins), true), sum-change
	}
	if v.Fee > t.o.MaxFee {
		return version{}, vaultmesh.Errorf(vaultmesh.RateLimited, op, "", "what would be left of %d satoshi is too little for an output, and as a fee it is above the limit of %d", sum, t.o.MaxFee).
			WithFix("send more to %s", t.key.address)
	}
	fetcher := txscript.NewMultiPrevOutFetcher(outputs)
	hashes := txscript.NewTxSigHashes(tx, fetcher)
	for i, c := range coins {
		witness, err := txscript.WitnessSignature(tx, hashes, i, c.value, t.key.script, txscript.SigHashAll, t.key.private, true)
		if err != nil {
			return version{}, vaultmesh.Errorf(vaultmesh.Internal, op, "", "it cannot be signed").Because(err)
		}
		tx.TxIn[i].Witness = witness
	}
	for i, c := range coins {
		engine, err := txscript.NewEngine(t.key.script, tx, i, txscript.StandardVerifyFlags, nil, hashes, c.value, fetcher)
		if err == nil {
			err = engine.Execute()
		}
		if err != nil {
			return version{}, vaultmesh.Errorf(vaultmesh.Internal, op, "", "its own signature does not hold").Because(err)
		}
	}
	var raw bytes.Buffer
	if err := tx.Serialize(&raw); err != nil {
		return version{}, vaultmesh.Errorf(vaultmesh.Internal, op, "", "it cannot be encoded").Because(err)
	}
	v.Tx, v.Txid = hex.EncodeToString(raw.Bytes()), tx.TxID()
	return v, nil
}

// gone reports whether a coin of the transaction was spent in the chain by another one: its own transaction is in the chain
// and the coin is not there.
func (t *Target) gone(ctx context.Context, v *version) (what string, gone bool, err error) {
	tx, err := v.decode()
	if err != nil {
		return "", false, err
	}
	for _, in := range tx.TxIn {
		_, _, _, there, err := t.node.unspent(ctx, in.PreviousOutPoint)
		if err != nil {
			return "", false, err
		}
		if there {
			continue
		}
		parent, err := t.node.find(ctx, in.PreviousOutPoint.Hash.String())
		if err != nil {
			return "", false, err
		}
		if parent.block == nil {
			continue // it is on its way back into the chain after a re-organisation
		}
		if _, mined, err := t.node.heightOf(ctx, *parent.block); err != nil || mined {
			return fmt.Sprintf("%s:%d", in.PreviousOutPoint.Hash, in.PreviousOutPoint.Index), err == nil, err
		}
	}
	return "", false, nil
}

// hashOf converts a hash of the library.
func hashOf(h chainhash.Hash) spv.Hash { return spv.Hash(h) }
