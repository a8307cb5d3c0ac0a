package node

import (
	"net"
	"net/url"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/anchor/bitcoin"
	spv "vaultmesh.org/vaultmesh/proof/bitcoin"
)

// BitcoinConfig has checkpoints anchored in Bitcoin. A field that is zero has the default of [bitcoin.Options].
type BitcoinConfig struct {
	URL         string        `yaml:"url"`         // of a node's JSON-RPC (btcd, Bitcoin Core); empty: no anchors in Bitcoin
	Network     string        `yaml:"network"`     // mainnet, testnet4, signet, regtest
	CA          string        `yaml:"ca"`          // PEM file that signs the node's certificate; empty: the system's
	Credentials string        `yaml:"credentials"` // file with user:password, readable by its owner alone
	Key         string        `yaml:"key"`         // file with the private key (WIF), readable by its owner alone
	Every       time.Duration `yaml:"every"`       // between two anchors while the log grows; 0: on demand only

	FeeFloor  int `yaml:"fee_floor"`  // sat/vB
	FeeCap    int `yaml:"fee_cap"`    // sat/vB
	FeeTarget int `yaml:"fee_target"` // blocks within which an anchor should be mined
	MaxFee    int `yaml:"max_fee"`    // satoshi for one anchor
	DayFee    int `yaml:"day_fee"`    // satoshi for all anchors of a UTC day

	Confirmations int           `yaml:"confirmations"` // from which on an anchor counts as confirmed
	Final         int           `yaml:"final"`         // from which on it counts as final
	MaxBits       string        `yaml:"max_bits"`      // easiest proof of work that is believed: eight hexadecimal digits
	StuckAfter    time.Duration `yaml:"stuck_after"`   // until a transaction that is not mined is replaced by one that pays more
	Poll          time.Duration `yaml:"poll"`          // how often a transaction is looked after
}

// minBitcoinEvery keeps a schedule from spending more than a block can hold of it.
const minBitcoinEvery = 10 * time.Minute

// check reports the first thing that is wrong. Files are not looked at.
func (c *BitcoinConfig) check() error {
	bad := func(key, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "anchors.bitcoin."+key, format, args...)
	}
	if c.URL == "" {
		if *c != (BitcoinConfig{Every: c.Every}) {
			return bad("url", "it is empty, and other keys of the section are set").WithFix("name the node's JSON-RPC, or remove the section")
		}
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return bad("url", "not an address of the form https://host:port").WithFix("user and password stand in the file that credentials names")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return bad("url", "over http the node's password would cross the network in the clear").WithFix("use https, or a node on this machine")
	}
	for key, file := range map[string]string{"key": c.Key, "credentials": c.Credentials} {
		if file == "" {
			return bad(key, "it is empty").WithFix("name the file; chmod 600")
		}
	}
	if c.Every != 0 && c.Every < minBitcoinEvery {
		return bad("every", "%s", c.Every).WithFix("use at least %s: a block takes ten minutes", minBitcoinEvery)
	}
	o, err := c.options()
	if err != nil {
		return vaultmesh.Wrap(err, "config", "anchors.bitcoin.max_bits")
	}
	if err := o.Check(); err != nil {
		return vaultmesh.Wrap(err, "config", "anchors.bitcoin")
	}
	return nil
}

// options are those of the target.
func (c *BitcoinConfig) options() (bitcoin.Options, error) {
	o := bitcoin.Options{Network: c.Network, URL: c.URL, CA: c.CA, Credentials: c.Credentials, Key: c.Key,
		FeeFloor: int64(c.FeeFloor), FeeCap: int64(c.FeeCap), FeeTarget: c.FeeTarget, MaxFee: int64(c.MaxFee), DayFee: int64(c.DayFee),
		Confirmations: c.Confirmations, Final: c.Final, StuckAfter: c.StuckAfter, Poll: c.Poll}
	var err error
	if c.MaxBits != "" {
		err = o.MaxBits.UnmarshalText([]byte(c.MaxBits))
	}
	return o, err
}

// trust is what this node's own trust file says of Bitcoin: the same network, work and depth that it demands itself. An
// auditor may pin more.
func (c *BitcoinConfig) trust() (*spv.Params, error) {
	if c.URL == "" {
		return nil, nil
	}
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	if err := o.Check(); err != nil { // sets the defaults
		return nil, err
	}
	return &spv.Params{Network: o.Network, MaxBits: o.MaxBits, Confirmations: o.Final}, nil
}
