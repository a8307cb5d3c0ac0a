package node

import (
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor/ethereum"
	proof "vaultmesh.org/vaultmesh/proof/ethereum"
)

// EthereumConfig is how the log is anchored in an Ethereum chain. Amounts are a number and wei, gwei or ether.
type EthereumConfig struct {
	Endpoints    []string      `yaml:"endpoints"`        // JSON-RPC URLs, or file:PATH of a secret file that holds one; none: not anchored
	Agree        int           `yaml:"agree"`            // endpoints that must say the same; 0: more than half
	ChainID      int           `yaml:"chain_id"`         // EIP-155; 1 is the main network
	Contract     string        `yaml:"contract"`         // address that `vaultmesh anchor ethereum deploy` printed
	Key          string        `yaml:"key"`              // file with the key of the account that pays
	Confirm      int           `yaml:"confirmations"`    // blocks that make an anchor confirmed
	Final        string        `yaml:"final"`            // blocks that make it final, or "finalized" for the nodes' own word
	MaxFeePerGas string        `yaml:"max_fee_per_gas"`  // most for a unit of gas
	MaxTip       string        `yaml:"max_priority_fee"` // most of it for the proposer; empty: max_fee_per_gas
	MaxPerAnchor string        `yaml:"max_per_anchor"`   // most for one anchor; empty: no further cap
	MaxPerDay    string        `yaml:"max_per_day"`      // most for the anchors of one UTC day; empty: no cap
	Every        time.Duration `yaml:"every"`            // between two anchors while the log grows; 0: on demand only
	ReplaceAfter time.Duration `yaml:"replace_after"`    // an anchor that is not mined by then is offered dearer
	Plain        bool          `yaml:"plain_http"`       // http to other machines, through a network that you trust
}

// EthereumDefaults are the settings before any file. There is no default for the endpoints, so nothing is anchored.
func EthereumDefaults() EthereumConfig {
	return EthereumConfig{Confirm: 2, Final: "64", MaxFeePerGas: "50 gwei", MaxTip: "2 gwei", MaxPerAnchor: "0.002 ether", MaxPerDay: "0.02 ether", ReplaceAfter: 5 * time.Minute}
}

// Enabled reports whether anything is anchored.
func (c *EthereumConfig) Enabled() bool { return len(c.Endpoints) > 0 }

// Check reports the first thing that is wrong. No file is read.
func (c *EthereumConfig) Check() error {
	if !c.Enabled() {
		return nil
	}
	bad := func(key, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "ethereum."+key, format, args...)
	}
	for i, e := range c.Endpoints {
		if path, ok := strings.CutPrefix(e, "file:"); ok && path != "" {
			continue
		}
		if err := c.checkURL(e); err != nil {
			return bad("endpoints", "entry %d", i+1).Because(err)
		}
	}
	if c.Agree != 0 && (c.Agree <= len(c.Endpoints)/2 || c.Agree > len(c.Endpoints)) {
		return bad("agree", "%d of %d endpoints", c.Agree, len(c.Endpoints)).WithFix("want more than half of them, or 0")
	}
	if c.ChainID <= 0 {
		return bad("chain_id", "%d", c.ChainID).WithFix("1 is Ethereum's main network")
	}
	var contract proof.Address
	if err := contract.UnmarshalText([]byte(strings.ToLower(c.Contract))); err != nil {
		return bad("contract", "no address").Because(err).WithFix("make the contract once with `vaultmesh anchor ethereum deploy`, and copy the address that it prints")
	}
	if c.Key == "" {
		return bad("key", "it is empty").WithFix("make one with `vaultmesh anchor ethereum key`, and send it some money")
	}
	if c.Confirm <= 0 || c.ReplaceAfter <= 0 {
		return bad("confirmations, replace_after", "want positive values")
	}
	if n, err := strconv.Atoi(c.Final); c.Final != "finalized" && (err != nil || n < c.Confirm) {
		return bad("final", "%.40q", c.Final).WithFix("want a number of blocks not below confirmations, or finalized")
	}
	_, err := c.fees()
	return err
}

// checkURL accepts https, and http where nobody is between the node and the endpoint, or the operator says so.
func (c *EthereumConfig) checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return vaultmesh.Errorf(vaultmesh.Invalid, "endpoint", "", "not an http or https URL")
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) && !c.Plain {
		return vaultmesh.Errorf(vaultmesh.Invalid, "endpoint", u.Hostname(), "http to another machine").WithFix("use https, or say plain_http: true if you trust the network between")
	}
	return nil
}

func (c *EthereumConfig) fees() (ethereum.Fees, error) {
	var f ethereum.Fees
	for _, a := range []struct {
		key, text string
		to        **big.Int
	}{{"max_fee_per_gas", c.MaxFeePerGas, &f.MaxFeePerGas}, {"max_priority_fee", c.MaxTip, &f.MaxTip}, {"max_per_anchor", c.MaxPerAnchor, &f.MaxPerTx}, {"max_per_day", c.MaxPerDay, &f.MaxPerDay}} {
		if a.text == "" && a.key != "max_fee_per_gas" {
			continue
		}
		n, err := ethereum.ParseAmount(a.text)
		if err != nil {
			return f, vaultmesh.Wrap(err, "config", "ethereum."+a.key)
		}
		*a.to = n
	}
	return f, nil
}

// Options reads the files that the configuration names and returns the options of a target. A contract or a key that is not
// named is left out; whether it may be, Check says.
func (c *EthereumConfig) Options(now func() time.Time, l *slog.Logger) (ethereum.Options, error) {
	o := ethereum.Options{ChainID: uint64(c.ChainID), Agree: c.Agree, Confirmations: uint64(c.Confirm), ReplaceAfter: c.ReplaceAfter, FinalizedTag: c.Final == "finalized", Now: now, Logger: l}
	if !o.FinalizedTag {
		n, err := strconv.ParseUint(c.Final, 10, 32)
		if err != nil {
			return o, vaultmesh.Errorf(vaultmesh.Invalid, "config", "ethereum.final", "%.40q", c.Final)
		}
		o.FinalDepth = n
	}
	if c.Contract != "" {
		if err := o.Contract.UnmarshalText([]byte(strings.ToLower(c.Contract))); err != nil {
			return o, vaultmesh.Wrap(err, "config", "ethereum.contract")
		}
	}
	var err error
	if o.Fees, err = c.fees(); err != nil {
		return o, err
	}
	for _, e := range c.Endpoints {
		if path, ok := strings.CutPrefix(e, "file:"); ok {
			if e, err = secretURL(path); err != nil {
				return o, err
			}
		}
		if err := c.checkURL(e); err != nil {
			return o, err
		}
		o.Endpoints = append(o.Endpoints, ethereum.Endpoint{URL: e})
	}
	if c.Key != "" {
		o.Key, err = ethereum.LoadKey(c.Key)
	}
	return o, err
}

// secretURL reads a file that nobody but its owner may read.
func secretURL(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "config", path, "cannot open").Because(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Mode().Perm()&0o077 != 0 {
		return "", vaultmesh.Errorf(vaultmesh.Denied, "config", path, "others than its owner may read it").Because(err).WithFix("chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Invalid, "config", path, "cannot read").Because(err)
	}
	return strings.TrimSpace(string(text)), nil
}
