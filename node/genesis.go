package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
	"vaultmesh.org/vaultmesh/constitution"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/gate"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// keyBorn marks that the domain's genesis is in the log.
var keyBorn = []byte("n/born")

// genesis writes the first receipts of a new domain (its keys, that the root vouches for them, the charter, its operators)
// and, at every start, that the node runs. Where the root does not vouch for the node's keys, nothing is written.
func (n *Node) genesis(ctx context.Context, operators []gate.Operator) error {
	_, born, err := n.journal.Get(keyBorn)
	if err != nil {
		return err
	}
	var vouched []receipt.KeyBody
	if born {
		err = n.renew(ctx)
	} else {
		vouched, err = n.firstDelegations(ctx)
	}
	if err != nil {
		return err
	}
	var drafts []receipt.Draft
	add := func(kind, subject string, body any) error {
		b, err := receipt.Body(body)
		if err == nil {
			drafts = append(drafts, receipt.Draft{Kind: kind, Subject: subject, Actor: n.actor, Time: n.now().UTC(), Body: b})
		}
		return err
	}
	if !born {
		head, err := constitution.Read()
		if err != nil {
			return err
		}
		err = errors.Join(
			add(receipt.DomainGenesis, receipt.DomainSubject(n.cfg.Domain), receipt.GenesisBody{Origin: n.keys.log.Name(), LogKey: n.keys.logKey,
				ReceiptKeys: [][]byte{public(n.keys.receipts)}, CapabilityKeys: [][]byte{public(n.keys.capability)}}),
			add(receipt.CharterAdopted, receipt.DomainSubject(n.cfg.Domain), receipt.CharterBody{Charter: constitution.Digest(), Version: head.Version}),
		)
		if err != nil {
			return err
		}
	}
	for _, o := range operators {
		known, err := n.enrolled(o)
		if err != nil {
			return err
		}
		if !known {
			if err := add(receipt.OperatorEnrolled, receipt.OperatorSubject(o.Principal), receipt.OperatorBody{Operator: o.Principal, Key: o.Key, Roles: o.Roles}); err != nil {
				return err
			}
		}
	}
	size := uint64(0)
	if cp := n.log.Checkpoint(); cp != nil {
		size = cp.Size
	}
	if err := add(receipt.NodeStarted, receipt.NodeSubject(n.actor), receipt.NodeBody{Node: n.actor, Version: Version, Size: size}); err != nil {
		return err
	}
	return n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		tx.Put(keyBorn, []byte{1})
		for _, o := range operators {
			b, err := json.Marshal(o)
			if err != nil {
				return err
			}
			tx.Put(keyOperator(o.Principal), b)
		}
		for i, d := range drafts {
			if _, _, err := n.log.Append(tx, d); err != nil {
				return err
			}
			if i > 0 || len(vouched) == 0 {
				continue
			}
			if _, err := n.log.ChangeKeys(tx, n.actor, d.Time, vouched, n.root.roots(), n.keys.signers); err != nil {
				return err
			}
		}
		return nil
	})
}

func keyOperator(p vaultmesh.Principal) []byte { return []byte("n/operator/" + string(p)) }

// enrolled reports whether the operator is in the log with this very key and these roles.
func (n *Node) enrolled(o gate.Operator) (bool, error) {
	b, ok, err := n.journal.Get(keyOperator(o.Principal))
	if err != nil || !ok {
		return false, err
	}
	var have gate.Operator
	if err := json.Unmarshal(b, &have); err != nil {
		return false, nil
	}
	return have.Key.Equal(o.Key) && slices.Equal(have.Roles, o.Roles), nil
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// defineGrid defines the twins of the configured grid that do not exist yet, each with its receipt, in one commit.
func (n *Node) defineGrid(ctx context.Context) error {
	if n.cfg.Grid.Case == "" {
		return nil
	}
	c, err := grid.Load(n.cfg.Grid.Case)
	if err != nil {
		return err
	}
	var missing []twin.Definition
	for _, d := range grid.Twins(c) {
		if _, ok := n.twins.Get(d.ID); !ok {
			missing = append(missing, d)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	now := n.now().UTC()
	return n.journal.Submit(ctx, journal.Commands, func(tx journal.Tx) error {
		if err := n.twins.DefineAll(tx, missing); err != nil {
			return err
		}
		for _, d := range missing {
			definition, err := receipt.Body(d)
			if err != nil {
				return err
			}
			body, err := receipt.Body(receipt.TwinBody{Twin: d.ID, Model: d.Model, Device: d.Device, Definition: vaultmesh.Sum(definition)})
			if err != nil {
				return err
			}
			if _, _, err := n.log.Append(tx, receipt.Draft{Kind: receipt.TwinDefined, Subject: receipt.TwinSubject(d.ID), Actor: n.actor, Time: now, Body: body}); err != nil {
				return err
			}
		}
		return nil
	})
}

// operators reads who may approve: in the prod profile from the configured file, in the dev profile from the
// credentials that the node makes for its owner.
func (n *Node) operators() ([]gate.Operator, error) {
	if n.cfg.Gate.Operators == "" {
		return n.devOperators()
	}
	path := n.cfg.Gate.Operators
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "operators", path, "cannot read").Because(err)
	}
	var file struct {
		Operators []struct {
			Principal vaultmesh.Principal `yaml:"principal"`
			Key       string              `yaml:"key"` // base64 of the ed25519 public key
			Roles     []string            `yaml:"roles"`
		} `yaml:"operators"`
	}
	if err := decodeYAML(b, &file); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "operators", path, "unknown key or wrong type").Because(err)
	}
	var out []gate.Operator
	for _, o := range file.Operators {
		key, err := parsePublic(o.Key)
		if err != nil {
			return nil, vaultmesh.Wrap(err, "operators", string(o.Principal))
		}
		out = append(out, gate.Operator{Principal: o.Principal, Key: key, Roles: o.Roles})
	}
	return out, nil
}

// The dev profile's people: an agent, and two operators, so that a second person can approve.
const (
	DevAgent    = "agent"
	DevOperator = "operator"
	DevSecond   = "second"
)

// devPeople says what each credential of the dev profile may do.
var devPeople = []struct {
	name      string
	principal vaultmesh.Principal
	grant     capability.Grant
}{
	{DevAgent, "agent:dispatcher", capability.Grant{Actions: []capability.Verb{capability.Read, capability.Simulate, capability.Command}, Twins: []string{"*"}, Commands: []string{"*"}, Roles: []string{"agent"}}},
	{DevOperator, "operator:ada", capability.Grant{Actions: []capability.Verb{capability.Read, capability.Simulate, capability.Command, capability.Approve, capability.Halt, capability.Admin, capability.Anchor}, Twins: []string{"*"}, Commands: []string{"*"}, Roles: []string{"operator"}}},
	{DevSecond, "operator:grace", capability.Grant{Actions: []capability.Verb{capability.Read, capability.Simulate, capability.Command, capability.Approve, capability.Halt, capability.Admin, capability.Anchor}, Twins: []string{"*"}, Commands: []string{"*"}, Roles: []string{"operator"}}},
}

// devTokenLife is how long a dev credential holds; a start renews what is older than half of it.
const devTokenLife = 7 * 24 * time.Hour

// CredentialPath is where the dev profile keeps a credential.
func CredentialPath(data, name string) string {
	return filepath.Join(data, "credentials", name+".json")
}

// credentials makes or renews the dev profile's credential files, which name the node's present address.
func (n *Node) credentials(ca []byte) error {
	if err := os.MkdirAll(filepath.Join(n.cfg.Data, "credentials"), 0o700); err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "credentials", n.cfg.Data, "cannot create the folder").Because(err)
	}
	for _, p := range devPeople {
		path := CredentialPath(n.cfg.Data, p.name)
		key, err := n.devKey(path)
		if err != nil {
			return err
		}
		now := n.now().UTC().Truncate(time.Second)
		g := p.grant
		g.NotBefore, g.Expires, g.Audience = now.Add(-time.Minute), now.Add(devTokenLife), []vaultmesh.Domain{n.cfg.Domain}
		token, err := capability.Issue(n.keys.capability, p.principal, public(key), g)
		if err != nil {
			return err
		}
		c := Credential{Principal: p.principal, Domain: n.cfg.Domain, Token: token.String(), Key: key.Seed(), URL: n.URL(), CA: string(ca)}
		if err := c.Save(path); err != nil {
			return err
		}
	}
	return nil
}

// devKey returns the key in a credential file, or a new one.
func (n *Node) devKey(path string) (ed25519.PrivateKey, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	c, err := LoadCredential(path)
	if err != nil {
		return nil, err
	}
	return c.PrivateKey(), nil
}

// devOperators are the people of the dev profile who may approve.
func (n *Node) devOperators() ([]gate.Operator, error) {
	dir := filepath.Join(n.cfg.Data, "credentials")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "credentials", dir, "cannot create the folder").Because(err)
	}
	var out []gate.Operator
	for _, p := range devPeople {
		if !slices.Contains(p.grant.Roles, "operator") {
			continue
		}
		path := CredentialPath(n.cfg.Data, p.name)
		key, err := n.devKey(path)
		if err != nil {
			return nil, err
		}
		// Saved before the log names the key, so that a start that is cut short finds it again.
		c := Credential{Principal: p.principal, Domain: n.cfg.Domain, Token: "pending", Key: key.Seed(), URL: "pending"}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if err := c.Save(path); err != nil {
				return nil, err
			}
		}
		out = append(out, gate.Operator{Principal: p.principal, Key: public(key), Roles: p.grant.Roles})
	}
	return out, nil
}

// trust writes the file that an auditor pins: public keys only.
func (n *Node) trust(operators []gate.Operator) (*receipt.Trust, error) {
	h, err := lawchain.ReadKeys(n.journal, n.cfg.Domain, n.root.roots())
	if err != nil {
		return nil, err
	}
	t := &receipt.Trust{Domain: n.cfg.Domain, FollowKeys: true}
	for i, k := range h.Keys(receipt.PurposeLog) {
		text, err := k.LogKey()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			t.Log = receipt.TrustedLog{Origin: k.Origin, Key: text}
		} else {
			t.LogKeys = append(t.LogKeys, text)
		}
	}
	trusted := func(pub ed25519.PublicKey) receipt.TrustedKey {
		return receipt.TrustedKey{ID: receipt.KeyID(pub), Public: pub}
	}
	for _, k := range h.Keys(receipt.PurposeReceipt) {
		t.ReceiptKeys = append(t.ReceiptKeys, trusted(k.Public))
	}
	for _, k := range h.Keys(receipt.PurposeCapability) {
		t.CapabilityRoots = append(t.CapabilityRoots, trusted(k.Public))
	}
	for _, purpose := range []string{receipt.PurposeLog, receipt.PurposeReceipt, receipt.PurposeCapability} {
		for _, k := range h.Keys(purpose) {
			if k.Until != 0 {
				t.Retired = append(t.Retired, receipt.RetiredKey{ID: receipt.KeyID(k.Public), Until: k.Until})
			}
		}
	}
	for _, r := range n.root.roots() {
		t.KeyRoots = append(t.KeyRoots, trusted(r))
	}
	for _, o := range operators {
		t.Operators = append(t.Operators, receipt.TrustedOperator{Principal: o.Principal, Public: o.Key, Roles: o.Roles})
	}
	for _, c := range n.cfg.authorities() {
		pem, err := readRoots(c)
		if err != nil {
			return nil, err
		}
		if text := string(pem); !slices.Contains(t.TSARoots, text) {
			t.TSARoots = append(t.TSARoots, text)
		}
	}
	if n.cfg.Witness.Policy != "" {
		policy, err := os.ReadFile(n.cfg.Witness.Policy)
		if err != nil {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, "witness.policy", n.cfg.Witness.Policy, "cannot read").Because(err)
		}
		t.WitnessPolicy = string(policy)
	}
	if t.Bitcoin, err = n.cfg.Anchors.Bitcoin.trust(); err != nil {
		return nil, err
	}
	if t.Ethereum, err = n.cfg.Anchors.Ethereum.trust(); err != nil {
		return nil, err
	}
	n.pinned = t
	return t, n.writeTrust()
}

// writeTrust writes what an auditor may pin, as the node sees it now.
func (n *Node) writeTrust() error {
	t, err := n.trusted()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "trust", "", "cannot encode").Because(err)
	}
	return writeFile(filepath.Join(n.cfg.Data, "trust.json"), append(b, '\n'), 0o644)
}

func decodeYAML(b []byte, v any) error {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	return dec.Decode(v)
}
