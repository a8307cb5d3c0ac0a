package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor/bitcoin"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// anchorBitcoinCmd prepares anchoring in Bitcoin, and helps an auditor to pin blocks.
type anchorBitcoinCmd struct {
	Key     btcKeyCmd     `cmd:"" help:"Make the key that pays, and print the address to which coins are to be sent."`
	Account btcAccountCmd `cmd:"" help:"Show what the key can pay with, and what an anchor costs now."`
	Extend  btcExtendCmd  `cmd:"" help:"For auditors: make a proof lead to a later block of a node that you trust, which is then the one to pin."`
}

// btcNode says whom to ask.
type btcNode struct {
	URL         string        `help:"JSON-RPC URL of a node (btcd, Bitcoin Core)." required:"" placeholder:"URL"`
	Network     string        `help:"mainnet, testnet4, signet or regtest." default:"mainnet"`
	CA          string        `name:"ca" help:"PEM file that signs the node's certificate." type:"existingfile" placeholder:"FILE"`
	Credentials string        `help:"File with user:password of the node's RPC." type:"existingfile" placeholder:"FILE"`
	Wait        time.Duration `help:"Give up after this time." default:"10m"`
}

func (n *btcNode) options() bitcoin.Options {
	return bitcoin.Options{Network: n.Network, URL: n.URL, CA: n.CA, Credentials: n.Credentials, Timeout: n.Wait}
}

type btcKeyCmd struct {
	Network string `help:"mainnet, testnet4, signet or regtest." default:"mainnet"`
	Out     string `short:"o" help:"File to write; it must not exist." required:"" type:"path"`
}

// Run makes a key.
func (c *btcKeyCmd) Run(a *app) error {
	address, err := bitcoin.NewKeyFile(c.Out, c.Network)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "address  %s\nkey      %s (keep a copy in a safe place; whoever reads it can spend the coins)\n", address, c.Out)
	return err
}

type btcAccountCmd struct {
	btcNode
	Key string `help:"File with the key." required:"" type:"existingfile" placeholder:"FILE"`
}

// Run shows the account.
func (c *btcAccountCmd) Run(a *app) error {
	o := c.options()
	o.Key = c.Key
	target, err := bitcoin.New(o)
	if err != nil {
		return err
	}
	defer target.Close()
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	x, err := target.Account(ctx)
	if err != nil {
		return err
	}
	how := "the node's estimate, within the caps"
	if !x.Estimated {
		how = "the floor: the node cannot estimate yet"
	}
	_, err = fmt.Fprintf(a.out, "address  %s\nblock    %d\ncoins    %d confirmed, %d satoshi\nrate     %.1f sat/vB (%s)\nanchor   %d satoshi\n", x.Address, x.Height, x.Coins, x.Value, x.Rate, how, x.Cost)
	return err
}

type btcExtendCmd struct {
	btcNode
	Proof string `arg:"" help:"bitcoin.json of a bundle." type:"existingfile"`
	To    uint64 `help:"Height of the last header; default: as far as a proof may reach." placeholder:"N"`
	Out   string `short:"o" help:"File to write; it must not exist." required:"" type:"path"`
}

// Run extends a proof.
func (c *btcExtendCmd) Run(a *app) error {
	const op = "bitcoin.extend"
	f, err := os.Open(c.Proof)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, c.Proof, "cannot read").Because(err)
	}
	proof, err := io.ReadAll(io.LimitReader(f, spv.MaxProof+1))
	_ = f.Close()
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, c.Proof, "cannot read").Because(err)
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	longer, r, err := bitcoin.Extend(ctx, c.options(), proof, c.To)
	if err != nil {
		return err
	}
	p, err := spv.Decode(longer)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, c.Out, "cannot create").Because(err)
	}
	if _, err = out.Write(longer); err == nil {
		err = out.Close()
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, op, c.Out, "cannot write").Because(err)
	}
	last, height := p.Header, p.Height+uint64(len(p.Following))
	if len(p.Following) > 0 {
		last = p.Following[len(p.Following)-1]
	}
	_, err = fmt.Fprintf(a.out, "time     %s (within some two hours)\nblock    %s at height %d\nshows    %d confirmations\npin      {\"hash\":\"%s\",\"height\":%d}, after comparing it with other sources\n",
		r.Time.Format(time.RFC3339), r.Block, r.Height, r.Confirmations, last.Hash(), height)
	return err
}
