package bitcoin

import (
	"bytes"
	"context"
	"fmt"

	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// prove builds the proof that a transaction is in a block from that block and the headers after it, and verifies it with
// the code that an auditor runs. A node that lies about any of it gets an error here, never a proof.
func (t *Target) prove(ctx context.Context, digest vaultmesh.Digest, txid string, block spv.Hash, height uint64, following int) ([]byte, error) {
	const op = "bitcoin.prove"
	b, err := t.node.block(ctx, block)
	if err != nil {
		return nil, err
	}
	p := spv.Proof{Height: height, Network: t.o.Network}
	var raw bytes.Buffer
	if err := b.Header.Serialize(&raw); err != nil || raw.Len() != spv.HeaderSize {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, op, block.String(), "the header cannot be encoded")
	}
	p.Header = spv.Header(raw.Bytes())
	ids := make([]spv.Hash, len(b.Transactions))
	found := false
	for i, tx := range b.Transactions {
		ids[i] = hashOf(tx.TxHash())
		if !found && ids[i].String() == txid {
			found, p.Index = true, uint32(i)
			raw.Reset()
			if err := tx.SerializeNoWitness(&raw); err != nil {
				return nil, vaultmesh.Errorf(vaultmesh.Internal, op, txid, "it cannot be encoded").Because(err)
			}
			p.Tx = bytes.Clone(raw.Bytes())
		}
	}
	if !found {
		return nil, lie("getrawtransaction", "it says that %s is in block %s, which does not hold it", txid, block)
	}
	if err := checkHeight(b, height); err != nil {
		return nil, err
	}
	if p.Branch, _, err = spv.Branch(ids, p.Index); err != nil {
		return nil, err
	}
	for i := range following {
		next, ok, err := t.node.blockAt(ctx, height+1+uint64(i))
		if err != nil || !ok {
			return nil, notNow(err, "the chain became shorter while the proof was built")
		}
		h, err := t.node.header(ctx, next)
		if err != nil {
			return nil, err
		}
		p.Following = append(p.Following, h)
	}
	proof, err := p.Encode()
	if err != nil {
		return nil, err
	}
	_, err = spv.Verify(proof, digest, t.params(1+following))
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.KindOf(err), op, txid, "the proof that the node's blocks make does not hold").Because(err).
			WithFix("the chain may just have been re-organised; if it stays so, the node lies")
	}
	return proof, nil
}

// checkHeight compares the height that the node gives with the one in the block's own coinbase transaction, with which its
// script begins (BIP 34): nothing else binds the height of a proof.
func checkHeight(b *wire.MsgBlock, height uint64) error {
	want, err := txscript.NewScriptBuilder().AddInt64(int64(height)).Script()
	if err != nil || len(b.Transactions) == 0 || len(b.Transactions[0].TxIn) != 1 || !bytes.HasPrefix(b.Transactions[0].TxIn[0].SignatureScript, want) {
		return lie("getblockheader", "it says that block %s has height %d, the block itself says otherwise", b.BlockHash(), height)
	}
	return nil
}

// params is what this target trusts: an auditor may pin more.
func (t *Target) params(confirmations int) spv.Params {
	return spv.Params{Network: t.o.Network, MaxBits: t.o.MaxBits, Confirmations: confirmations}
}

// Proved implements [anchor.Target]: the proof holds offline, shows as many confirmations as the job's state wants, and the
// node has the block at that height of its best chain.
func (t *Target) Proved(ctx context.Context, j anchor.Job) (anchor.Proved, error) {
	const op = "bitcoin.proved"
	confirmations := t.o.Confirmations
	if j.State == anchor.Final {
		confirmations = t.o.Final
	}
	r, err := spv.Verify(j.Proof, j.Digest, t.params(confirmations))
	if err != nil {
		return anchor.Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, j.ID, "the proof does not hold").Because(err)
	}
	if _, err := t.ready(ctx); err != nil {
		return anchor.Proved{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, j.ID, "the node cannot be asked about block %s", r.Block).Because(err)
	}
	at, ok, err := t.node.blockAt(ctx, r.Height)
	if err != nil {
		return anchor.Proved{}, vaultmesh.Errorf(vaultmesh.Unavailable, op, j.ID, "the node cannot be asked about block %s", r.Block).Because(err)
	}
	if !ok {
		return anchor.Proved{}, shorter(r.Height)
	}
	if at != r.Block {
		return anchor.Proved{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, j.ID, "block %s at height %d is in the chain no more: a re-organisation", r.Block, r.Height)
	}
	return anchor.Proved{Time: r.Time, Height: r.Height, Block: r.Block.String(), Source: fmt.Sprintf("bitcoin %s, %d confirmations", t.o.Network, r.Confirmations)}, nil
}
