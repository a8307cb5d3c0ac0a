package node

import (
	"net/url"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	proof "vaultmesh.org/vaultmesh/proof/ethereum"
	"vaultmesh.org/vaultmesh/receipt"
)

// AnchorsConfig is where checkpoints are anchored, each target at its own cadence.
type AnchorsConfig struct {
	RFC3161  []AuthorityConfig `yaml:"rfc3161"` // time-stamping authorities
	Bitcoin  BitcoinConfig     `yaml:"bitcoin"`
	Ethereum EthereumConfig    `yaml:"ethereum"`
}

// AuthorityConfig is one RFC 3161 authority.
type AuthorityConfig struct {
	Name     string        `yaml:"name"`     // yours; receipts and metrics say rfc3161/<name>
	URL      string        `yaml:"url"`      // http or https
	Roots    string        `yaml:"roots"`    // PEM file with the roots that its chain must lead to, pinned
	Every    time.Duration `yaml:"every"`    // between two stamps while the log grows; 0: on demand only
	Timeout  time.Duration `yaml:"timeout"`  // for one request; 0: 10s
	Drift    time.Duration `yaml:"drift"`    // how far its clock may be from this machine's; 0: 1m
	Accuracy time.Duration `yaml:"accuracy"` // the most that it may say of its own accuracy; 0: 1m
}

// AnchorsDefaults are the settings before any file: nothing is anchored.
func AnchorsDefaults() AnchorsConfig {
	e := EthereumDefaults()
	e.Every = 24 * time.Hour
	return AnchorsConfig{Bitcoin: BitcoinConfig{Every: 24 * time.Hour}, Ethereum: e}
}

// trust is what the node's own trust file says of Ethereum, but for the blocks: see [Node.trusted].
func (c *EthereumConfig) trust() (*proof.Params, error) {
	if !c.Enabled() {
		return nil, nil
	}
	var contract proof.Address
	if err := contract.UnmarshalText([]byte(strings.ToLower(c.Contract))); err != nil {
		return nil, vaultmesh.Wrap(err, "config", "ethereum.contract")
	}
	return &proof.Params{ChainID: uint64(c.ChainID), Contracts: []proof.Address{contract}}, nil
}

// Bounds of the section.
const (
	maxAuthorities = receipt.MaxStamps // all may stamp one checkpoint, and a bundle holds so many stamps of one
	minStampEvery  = 100 * time.Millisecond
	minEtherEvery  = time.Minute
	mainAuthority  = "main" // the name of the one that the timestamps section configures
)

// authorities are all that are configured: the one of the timestamps section first.
func (c *Config) authorities() []AuthorityConfig {
	var out []AuthorityConfig
	if c.Timestamps.URL != "" {
		out = append(out, AuthorityConfig{Name: mainAuthority, URL: c.Timestamps.URL, Roots: c.Timestamps.Roots, Every: c.Timestamps.Interval})
	}
	return append(out, c.Anchors.RFC3161...)
}

func (c *Config) checkAnchors() error {
	bad := func(key, format string, args ...any) *vaultmesh.Error {
		return vaultmesh.Errorf(vaultmesh.Invalid, "config", "anchors."+key, format, args...)
	}
	if n := len(c.authorities()); n > maxAuthorities {
		return bad("rfc3161", "%d authorities with that of the timestamps section, at most %d: a bundle holds so many stamps of one checkpoint", n, maxAuthorities).
			WithFix("leave out those whose clocks you trust least")
	}
	names := map[string]bool{}
	for _, a := range c.authorities() {
		key := "rfc3161 " + a.Name
		if err := vaultmesh.CheckID("authority", a.Name); err != nil || len(a.Name) > 64 || strings.Contains(a.Name, "@") {
			return bad("rfc3161.name", "%.80q is no name", a.Name).Because(err).WithFix("use letters, digits and . _ -, at most 64")
		}
		if names[a.Name] {
			return bad(key, "two authorities have this name").WithFix("give each its own; %q is that of the timestamps section", mainAuthority)
		}
		names[a.Name] = true
		u, err := url.Parse(a.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad(key, "url is not an http or https address").WithFix("a stamp is signed, so http is good enough")
		}
		if u.User != nil {
			return bad(key, "url holds a user or a password").WithFix("write it without user:password@; let a proxy on this machine add what an authority asks for, or use one that asks for nothing")
		}
		if a.Roots == "" {
			return bad(key, "roots is empty").WithFix("name the PEM file with the roots of the authority, which you got by another way")
		}
		if a.Every != 0 && a.Every < minStampEvery || a.Timeout < 0 || a.Drift < 0 || a.Accuracy < 0 || a.Accuracy > receipt.MaxAccuracy {
			return bad(key, "every, timeout, drift or accuracy is out of range").WithFix("every is 0 (on demand) or at least %s; the others are not negative, accuracy at most %s", minStampEvery, receipt.MaxAccuracy)
		}
	}
	if err := c.Anchors.Bitcoin.check(); err != nil {
		return vaultmesh.Wrap(err, "config", "anchors")
	}
	if e := c.Anchors.Ethereum.Every; e < 0 || e > 0 && e < minEtherEvery {
		return bad("ethereum.every", "%s", e).WithFix("use at least %s, or 0 for on demand only", minEtherEvery)
	}
	if err := c.Anchors.Ethereum.Check(); err != nil {
		return vaultmesh.Wrap(err, "config", "anchors")
	}
	return nil
}
