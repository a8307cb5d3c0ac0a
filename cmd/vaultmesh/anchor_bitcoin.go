package main

import (
	"context"
	"fmt"
	"time"

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
	extending
}

// Run extends a proof.
func (c *btcExtendCmd) Run(a *app) error {
	return c.extend(a, "bitcoin.extend", spv.MaxProof, func(proof []byte, s *sheet) ([]byte, error) {
		ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
		defer cancel()
		longer, r, err := bitcoin.Extend(ctx, c.options(), proof, c.To)
		if err != nil {
			return nil, err
		}
		p, err := spv.Decode(longer)
		if err != nil {
			return nil, err
		}
		last, height := p.Header, p.Height+uint64(len(p.Following))
		if len(p.Following) > 0 {
			last = p.Following[len(p.Following)-1]
		}
		s.fact("time", "%s (within some two hours)", r.Time.Format(time.RFC3339))
		s.fact("block", "%s at height %d, with %d confirmations", r.Block, r.Height, r.Confirmations)
		tellPin(s, fmt.Sprintf(`{"hash":"%s","height":%d}`, last.Hash(), height))
		return longer, nil
	})
}
