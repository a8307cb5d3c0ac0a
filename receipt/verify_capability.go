package receipt

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/capability"
)

// proofSkew is how far the time of a proof of possession may lie from the time of the proposal's receipt.
const proofSkew = 5 * time.Minute

// capability checks that the proposal rests on a token of a pinned root that grants it, and that the token's holder
// signed the request.
func (j *judge) capability(l *life) {
	name := l.name("capability.chain")
	e := l.chain[0]
	v, err := j.verifyToken(l)
	if err != nil {
		j.fail(name, "%v", err)
		j.skip(l, "capability.revocation")
		return
	}
	l.blocks = v.Blocks
	j.revocation(l, v)
	if err := v.Allows(capability.Action{Verb: capability.Command, Twin: l.proposed.Twin, Command: l.proposed.Name, Args: l.proposed.Args}); err != nil {
		j.fail(name, "%v", err)
		return
	}
	decided := e.index
	if a := l.at["authorized"]; a != nil {
		decided = a.index
	}
	for _, block := range v.Blocks {
		if at, ok := j.revoked[block]; ok && at < decided {
			j.fail(name, "block %s was revoked at index %d, before the command was proposed or authorized at %d", block, at, decided)
			return
		}
	}
	if l.proposed.Proof == "" {
		if j.demand.Possession {
			j.fail(name, "the holder's signature is demanded, and there is none: the domain says that mTLS proved possession of the key, which leaves nothing to check here")
			return
		}
		j.pass(name, "%s from a pinned root on: %s may give this command; the domain says that mTLS proved possession of the key, which leaves no signature to check here", counted(len(v.Blocks), "block"), v.Principal)
		return
	}
	err = j.possession(l, v)
	j.settle(name, err, "%s from a pinned root on: %s may give this command, and the holder %s signed the request", counted(len(v.Blocks), "block"), v.Principal, KeyID(v.Holder))
}

// granters returns the keys that may have signed the first block of a capability that was used at an index and a time.
func (j *judge) granters(index uint64, at time.Time) (list []ed25519.PublicKey) {
	for _, k := range j.keys.Keys(PurposeCapability) {
		if _, ended := k.Ended(vaultmesh.LogIndex(index), at); j.accepts(k) && k.counts(index) && !ended {
			list = append(list, k.Public)
		}
	}
	return list
}

func (j *judge) verifyToken(l *life) (capability.Verified, error) {
	const op = "capability"
	e := l.chain[0]
	text := l.proposed.Token
	if text == "" {
		p, _ := j.bundle.Find(capabilityName(e.Capability))
		text = string(p.Data)
	}
	if text == "" || e.Capability.IsZero() {
		return capability.Verified{}, vaultmesh.Errorf(vaultmesh.NotFound, op, "", "the proposal names no capability, or the bundle lacks it")
	}
	token, err := capability.Parse(text)
	if err != nil {
		return capability.Verified{}, err
	}
	err = vaultmesh.Errorf(vaultmesh.Denied, op, "", "the trust file pins no capability root")
	for _, root := range j.granters(uint64(e.index), e.Time) {
		v, e2 := capability.Verify(token, root, e.Time, j.trust.Domain)
		if err = e2; err != nil {
			continue
		}
		if v.Principal != e.Actor {
			return v, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the token is for %s, the proposal came from %s", v.Principal, e.Actor)
		}
		if v.Digest() != e.Capability {
			return v, vaultmesh.Errorf(vaultmesh.Denied, op, "", "the token's last block is %s, the receipt names %s", v.Digest(), e.Capability)
		}
		return v, nil
	}
	return capability.Verified{}, err
}

// possession checks the holder's signature over the request, and that the request is this proposal.
func (j *judge) possession(l *life, v capability.Verified) error {
	const op = "capability.proof"
	t := l.proposed.Target
	if t == nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "the proposal holds a proof and not the request that it is about")
	}
	request := t.Request
	if len(request) == 0 {
		request = l.proposed.RequestText()
	}
	if vaultmesh.Sum(request) != t.Body {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the signed request is not this proposal")
	}
	if err := sameRequest(request, &l.proposed); err != nil {
		return err
	}
	target := capability.Target{Domain: j.trust.Domain, Method: t.Method, Path: t.Path, Body: t.Body}
	nonce, err := capability.VerifyProof(l.proposed.Proof, target, v.Holder, l.chain[0].Time, proofSkew)
	if err != nil {
		return err
	}
	used := KeyID(v.Holder) + " " + nonce
	if other, twice := j.nonces[used]; twice {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the holder signed one request for command %s already: its nonce is used twice", other)
	}
	j.nonces[used] = l.proposed.Command
	return nil
}

// sameRequest reads what was signed as strictly as the proposal itself: two readers must not see two commands.
func sameRequest(request []byte, b *ProposedBody) error {
	const op = "capability.proof"
	canonical, err := Canonical(request, Limits{})
	if err != nil {
		return vaultmesh.Wrap(err, op, "request")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(canonical, &members); err != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "request", "not a JSON object").Because(err)
	}
	if string(members["method"]) == `"tools/call"` { // an MCP message: the proposal is the tool's arguments
		var params, arguments map[string]json.RawMessage
		if err := errors.Join(json.Unmarshal(members["params"], &params), json.Unmarshal(params["arguments"], &arguments)); err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, "request", "not a tool call").Because(err)
		}
		if string(params["name"]) != `"propose_command"` {
			return vaultmesh.Errorf(vaultmesh.Corrupt, op, "request", "the tool call is not propose_command")
		}
		members = arguments
	}
	args := string(members["args"])
	if args == "" && string(b.Args) == "{}" {
		args = "{}"
	}
	reason := string(members["reason"])
	if reason == "" || reason == "null" {
		reason = `""`
	}
	if reason != quote(b.Reason) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "request", "the reason is not that of the proposal: the holder signed other words, or none")
	}
	if string(members["twin"]) != quote(string(b.Twin)) || string(members["command"]) != quote(b.Name) ||
		string(members["idempotency_key"]) != quote(b.IdempotencyKey) || args != string(b.Args) {
		return vaultmesh.Errorf(vaultmesh.Corrupt, op, "request", "twin, command, args or idempotency_key are not those of the proposal")
	}
	return nil
}

// revocations collects what the bundle says was revoked.
func (j *judge) revocations() {
	j.revoked = map[vaultmesh.Digest]vaultmesh.LogIndex{}
	for _, e := range j.order {
		if e.Kind != CapabilityRevoked {
			continue
		}
		b, err := ReadBody[CapabilityBody](&e.Receipt)
		if err != nil {
			j.fail(numbered("capability.chain", e.index), "%v", err)
			continue
		}
		if _, ok := j.revoked[b.Block]; !ok {
			j.revoked[b.Block] = e.index
		}
	}
}

// tokens refuses capability parts that no proposal names.
func (j *judge) tokens() {
	named := map[string]bool{}
	for _, l := range j.commands {
		named[capabilityName(l.chain[0].Capability)] = true
	}
	for _, p := range j.byType[PartCapability] {
		if !named[p.Name] {
			j.fail("capability.chain["+p.Name+"]", "no proposal of the bundle names this token")
		}
	}
}
