package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor/ethereum"
	"vaultmesh.org/vaultmesh/node"
	proof "vaultmesh.org/vaultmesh/proof/ethereum"
)

// anchorEthereumCmd prepares anchoring in an Ethereum chain, and helps an auditor to pin its blocks.
type anchorEthereumCmd struct {
	Key     ethKeyCmd     `cmd:"" help:"Make the key of the account that pays, and print its address."`
	Account ethAccountCmd `cmd:"" help:"Show what the account holds, what gas costs, and whether the contract is there."`
	Deploy  ethDeployCmd  `cmd:"" help:"Make the contract that repeats digests in events. It is done once for each chain."`
	Pin     ethPinCmd     `cmd:"" help:"For auditors: ask nodes that you trust whether they have the blocks of proofs, and print what to pin."`
	Extend  ethExtendCmd  `cmd:"" help:"For auditors: make a proof lead to a later block, which is then the one to pin."`
}

// ethNodes says whom to ask.
type ethNodes struct {
	Endpoint  []string      `help:"JSON-RPC URL of a node, or file:PATH of a secret file that holds one. Repeat it for several." required:"" placeholder:"URL" sep:"none"`
	Agree     int           `help:"How many endpoints must say the same; default: more than half of them."`
	ChainID   int           `help:"Chain id (EIP-155); 1 is the main network." required:"" placeholder:"N"`
	PlainHTTP bool          `help:"Allow http to other machines, through a network that you trust."`
	Wait      time.Duration `help:"Give up after this time." default:"10m"`
}

// options reads the files that the flags name and bounds the command's time.
func (n *ethNodes) options(a *app, change func(*node.EthereumConfig)) (ethereum.Options, context.Context, context.CancelFunc, error) {
	c := node.EthereumDefaults()
	c.Endpoints, c.Agree, c.ChainID, c.Plain = n.Endpoint, n.Agree, n.ChainID, n.PlainHTTP
	if change != nil {
		change(&c)
	}
	o, err := c.Options(time.Now, a.log)
	if err == nil && n.ChainID <= 0 {
		err = vaultmesh.Errorf(vaultmesh.Invalid, "ethereum", "--chain-id", "%d", n.ChainID).WithFix("1 is Ethereum's main network")
	}
	ctx, cancel := context.WithTimeout(a.ctx, n.Wait)
	return o, ctx, cancel, err
}

type ethKeyCmd struct {
	Out string `short:"o" help:"File to write; it must not exist." required:"" type:"path"`
}

// Run makes a key.
func (c *ethKeyCmd) Run(a *app) error {
	k, err := ethereum.NewKey(c.Out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "account  %s\nkey      %s (keep a copy in a safe place; whoever reads it can spend the account's money)\n", k.Address(), c.Out)
	return err
}

type ethAccountCmd struct {
	ethNodes
	Key      string `help:"Key file of the account." required:"" type:"path"`
	Contract string `help:"Address of the contract, to check its code." placeholder:"0x…"`
}

// Run shows the account.
func (c *ethAccountCmd) Run(a *app) error {
	o, ctx, cancel, err := c.options(a, func(e *node.EthereumConfig) { e.Key, e.Contract = c.Key, c.Contract })
	defer cancel()
	if err != nil {
		return err
	}
	x, err := ethereum.Look(ctx, o)
	if x.Balance == nil || err != nil && c.Contract == "" {
		return err
	}
	wei := func(n uint64) string { return ethereum.FormatAmount(new(big.Int).SetUint64(n)) }
	if _, err := fmt.Fprintf(a.out, "account   %s\nbalance   %s\nmined     %d transactions, %d more wait\nbase fee  %s a unit of gas, suggested tip %s; an anchor needs some 23,000\n",
		x.Address, ethereum.FormatAmount(x.Balance), x.Nonce, x.Pending, wei(x.BaseFee), wei(x.Tip)); err != nil {
		return err
	}
	if err == nil && c.Contract != "" {
		_, err = fmt.Fprintf(a.out, "contract  %s has the right code\n", o.Contract)
	}
	return err
}

type ethDeployCmd struct {
	ethNodes
	Key           string `help:"Key file of the account that pays." required:"" type:"path"`
	MaxFeePerGas  string `help:"Most that a unit of gas may cost." default:"50 gwei"`
	MaxTip        string `help:"Most of it for the block's proposer." default:"2 gwei"`
	MaxCost       string `help:"Most that it may cost altogether." default:"0.01 ether"`
	Confirmations int    `help:"Blocks to wait for." default:"2"`
}

// Run makes the contract.
func (c *ethDeployCmd) Run(a *app) error {
	if c.Confirmations <= 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.deploy", "--confirmations", "%d", c.Confirmations)
	}
	o, ctx, cancel, err := c.options(a, func(e *node.EthereumConfig) {
		e.Key, e.MaxFeePerGas, e.MaxTip, e.MaxPerAnchor, e.Confirm = c.Key, c.MaxFeePerGas, c.MaxTip, c.MaxCost, c.Confirmations
	})
	defer cancel()
	if err != nil {
		return err
	}
	var told error
	d, err := ethereum.Deploy(ctx, o, func(d ethereum.Deployment) {
		most, _ := new(big.Int).SetString(d.MostWei, 10)
		_, told = fmt.Fprintf(a.out, "sending   %s from %s; it costs at most %s\n", d.Transaction, d.From, ethereum.FormatAmount(most))
	})
	if err != nil {
		return err
	}
	if told != nil {
		return told
	}
	_, err = fmt.Fprintf(a.out, "contract  %s in block %d, its code is right\nnow set   anchors.ethereum.contract: \"%s\"\n", d.Contract, d.Height, d.Contract)
	return err
}

type ethPinCmd struct {
	ethNodes
	Contract string   `help:"Address of the contract whose events you accept." required:"" placeholder:"0x…"`
	Proofs   []string `arg:"" help:"Proofs (ethereum.json of a bundle)." type:"path"`
}

// Run prints the member of a trust file.
func (c *ethPinCmd) Run(a *app) error {
	o, ctx, cancel, err := c.options(a, func(e *node.EthereumConfig) { e.Contract = c.Contract })
	defer cancel()
	if err != nil {
		return err
	}
	var proofs [][]byte
	for _, path := range c.Proofs {
		p, err := readUpTo(path, proof.MaxProof)
		if err != nil {
			return err
		}
		proofs = append(proofs, p)
	}
	pins, err := ethereum.Pin(ctx, o, proofs...)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(proof.Params{ChainID: o.ChainID, Contracts: []proof.Address{o.Contract}, Blocks: pins}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s\n", text)
	return err
}

type ethExtendCmd struct {
	ethNodes
	extending
}

// Run extends a proof.
func (c *ethExtendCmd) Run(a *app) error {
	return c.extend(a, "ethereum.extend", proof.MaxProof, func(text []byte, s *sheet) ([]byte, error) {
		o, ctx, cancel, err := c.options(a, nil)
		defer cancel()
		if err != nil {
			return nil, err
		}
		longer, pin, err := ethereum.Extend(ctx, o, text, c.To)
		tellPin(s, fmt.Sprint(pin))
		return longer, err
	})
}
