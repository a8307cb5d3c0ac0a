package httpapi

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
	"vaultmesh.org/vaultmesh/whatif"
)

// TwinQuery selects twins; zero fields select all.
type TwinQuery struct {
	Model  string             // a DTMI, exactly
	Device vaultmesh.DeviceID // that speaks for them
	Prefix string             // of their identifiers
	After  vaultmesh.TwinID   // the Next of the page before
	Limit  int                // default 100
}

// HistoryQuery selects the points of one property or telemetry in [From, To); zero times mean the last hour.
type HistoryQuery struct {
	Name     string
	From, To time.Time
	Limit    int // default 1000
}

// Health reports whether the node answers at all.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.do(ctx, call{method: "GET", path: "/healthz"})
	return err
}

// Ready reports whether the node can commit.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.do(ctx, call{method: "GET", path: "/readyz"})
	return err
}

// Metrics returns the node's metrics in Prometheus' text form.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.do(ctx, call{method: "GET", path: "/metrics"})
}

// OpenAPI returns the node's contract in YAML.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	return c.do(ctx, call{method: "GET", path: "/v1/openapi.yaml"})
}

// Twins returns one page of the twins.
func (c *Client) Twins(ctx context.Context, q TwinQuery) (TwinPage, error) {
	return get[TwinPage](ctx, c, call{method: "GET", path: "/v1/twins", query: values(
		"model", q.Model, "device", string(q.Device), "prefix", q.Prefix, "after", string(q.After), "limit", positive(q.Limit))})
}

// Twin returns one twin.
func (c *Client) Twin(ctx context.Context, id vaultmesh.TwinID) (twin.Twin, error) {
	return get[twin.Twin](ctx, c, call{method: "GET", path: "/v1/twins/" + url.PathEscape(string(id))})
}

// History returns one value of a twin over time.
func (c *Client) History(ctx context.Context, id vaultmesh.TwinID, q HistoryQuery) (History, error) {
	return get[History](ctx, c, call{method: "GET", path: "/v1/twins/" + url.PathEscape(string(id)) + "/history",
		query: values("name", q.Name, "from", instant(q.From), "to", instant(q.To), "limit", positive(q.Limit))})
}

// Propose asks for a command. Send it again with the same IdempotencyKey after an error that leaves open whether the
// node has it; the answer has Replayed set if it had.
func (c *Client) Propose(ctx context.Context, p control.Proposal) (control.Command, error) {
	return get[control.Command](ctx, c, call{method: "POST", path: "/v1/commands", header: openingHeader(p.Opening),
		body: CommandRequest{Twin: p.Twin, Command: p.Command, Args: p.Args, Reason: p.Reason, IdempotencyKey: p.IdempotencyKey}})
}

// Simulate predicts a command without proposing it; n1 adds the N-1 check.
func (c *Client) Simulate(ctx context.Context, p control.Proposal, n1 bool) (whatif.Verdict, error) {
	return get[whatif.Verdict](ctx, c, call{method: "POST", path: "/v1/simulations",
		body: SimulationRequest{Twin: p.Twin, Command: p.Command, Args: p.Args, N1: n1}})
}

// List returns commands, newest first.
func (c *Client) List(ctx context.Context, f control.Filter) ([]control.Command, error) {
	l, err := get[CommandList](ctx, c, call{method: "GET", path: "/v1/commands", query: values(
		"state", string(f.State), "twin", string(f.Twin), "principal", string(f.Principal), "limit", positive(f.Limit))})
	return l.Commands, err
}

// Command returns one command.
func (c *Client) Command(ctx context.Context, id vaultmesh.CommandID) (control.Command, error) {
	return get[control.Command](ctx, c, call{method: "GET", path: commandPath(id, "")})
}

// Challenge returns what an approver signs with [receipt.SignApproval] after having read it.
func (c *Client) Challenge(ctx context.Context, id vaultmesh.CommandID) (receipt.Challenge, error) {
	b, err := c.do(ctx, call{method: "GET", path: commandPath(id, "/challenge")})
	if err != nil {
		return receipt.Challenge{}, err
	}
	ch, err := receipt.OpenChallenge(b)
	return ch, vaultmesh.Wrap(err, "client", string(id))
}

// Approve adds a signature to a command that waits for it; Time is the node's.
func (c *Client) Approve(ctx context.Context, id vaultmesh.CommandID, a control.Approval) (control.Command, error) {
	return get[control.Command](ctx, c, call{method: "POST", path: commandPath(id, "/approve"),
		body: ApprovalRequest{Approver: a.Approver, Key: a.Key, Signature: a.Signature}})
}

// Reject refuses a command that waits for an approval.
func (c *Client) Reject(ctx context.Context, id vaultmesh.CommandID, reason string) (control.Command, error) {
	return get[control.Command](ctx, c, call{method: "POST", path: commandPath(id, "/reject"), body: ReasonRequest{reason}})
}

// Cancel withdraws a command that was not dispatched yet.
func (c *Client) Cancel(ctx context.Context, id vaultmesh.CommandID, reason string) (control.Command, error) {
	return get[control.Command](ctx, c, call{method: "POST", path: commandPath(id, "/cancel"), body: ReasonRequest{reason}})
}

// Bundle returns the offline evidence of one to 100 commands.
func (c *Client) Bundle(ctx context.Context, ids ...vaultmesh.CommandID) ([]byte, error) {
	if len(ids) == 1 {
		return c.do(ctx, call{method: "GET", path: commandPath(ids[0], "/bundle")})
	}
	return c.BundleOf(ctx, BundleQuery{Scope: receipt.Scope{Commands: ids}})
}

// BundleOf returns the offline evidence that is asked for: commands and other subjects, and at most one range.
func (c *Client) BundleOf(ctx context.Context, ask BundleQuery) ([]byte, error) {
	if len(ask.Ranges) > 1 {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "bundle", "", "%d ranges, at most one at a time", len(ask.Ranges))
	}
	q := url.Values{}
	for _, id := range ask.Commands {
		q.Add("command", string(id))
	}
	for _, subject := range ask.Subjects {
		q.Add("subject", subject)
	}
	for _, r := range ask.Ranges {
		if r.From.IsZero() {
			q.Set("first", strconv.FormatUint(uint64(r.First), 10))
			q.Set("last", strconv.FormatUint(uint64(r.Last), 10))
		} else {
			q.Set("from", r.From.UTC().Format(time.RFC3339Nano))
			q.Set("until", r.Until.UTC().Format(time.RFC3339Nano))
		}
	}
	for _, key := range ask.State {
		q.Add("state", key)
	}
	if ask.Disclose {
		q.Set("disclose", "true")
	}
	if ask.StateAt > 0 {
		q.Set("at", strconv.FormatUint(ask.StateAt, 10))
	}
	if ask.Head > 0 {
		q.Set("head", strconv.FormatUint(ask.Head, 10))
	}
	return c.do(ctx, call{method: "GET", path: "/v1/bundles", query: q})
}

// HaltState returns the domain's stop switch.
func (c *Client) HaltState(ctx context.Context) (control.HaltState, error) {
	return get[control.HaltState](ctx, c, call{method: "GET", path: "/v1/halt"})
}

// Halt sets the stop switch.
func (c *Client) Halt(ctx context.Context, reason string) (control.HaltState, error) {
	return get[control.HaltState](ctx, c, call{method: "POST", path: "/v1/halt", body: ReasonRequest{reason}})
}

// Resume clears the stop switch.
func (c *Client) Resume(ctx context.Context, reason string) (control.HaltState, error) {
	return get[control.HaltState](ctx, c, call{method: "DELETE", path: "/v1/halt", query: values("reason", reason)})
}

// Receipt returns one receipt of the log. That the leaf is the envelope's is checked; the signature is not.
func (c *Client) Receipt(ctx context.Context, index vaultmesh.LogIndex) (Receipt, error) {
	r, err := get[Receipt](ctx, c, call{method: "GET", path: "/v1/receipts/" + strconv.FormatUint(uint64(index), 10)})
	if err != nil {
		return Receipt{}, err
	}
	return r, r.check()
}

// Receipts returns the receipts of a subject from an index on; limit 0 means 100.
func (c *Client) Receipts(ctx context.Context, subject string, from vaultmesh.LogIndex, limit int) (ReceiptPage, error) {
	page, err := get[ReceiptPage](ctx, c, call{method: "GET", path: "/v1/receipts",
		query: values("subject", subject, "from", strconv.FormatUint(uint64(from), 10), "limit", positive(limit))})
	for i := 0; err == nil && i < len(page.Receipts); i++ {
		err = page.Receipts[i].check()
	}
	return page, err
}

func (r *Receipt) check() error {
	if receipt.LeafHash(r.Envelope) != r.Leaf {
		return vaultmesh.Errorf(vaultmesh.Corrupt, "client", "receipt "+strconv.FormatUint(uint64(r.Index), 10), "the leaf is not that of the envelope")
	}
	return nil
}

// Checkpoint returns the newest signed note of the log.
func (c *Client) Checkpoint(ctx context.Context) ([]byte, error) {
	return c.do(ctx, call{method: "GET", path: "/v1/log/checkpoint"})
}

// Alarms returns what a person must look at, the gravest first.
func (c *Client) Alarms(ctx context.Context) ([]Alarm, error) {
	list, err := get[AlarmList](ctx, c, call{method: "GET", path: "/v1/alarms"})
	return list.Alarms, err
}

// Witnesses returns who cosigns the log; NotFound where it has no witnesses.
func (c *Client) Witnesses(ctx context.Context) (witness.Status, error) {
	return get[witness.Status](ctx, c, call{method: "GET", path: "/v1/log/witnesses"})
}

// Inclusion returns the audit path of a leaf in the tree of that size.
func (c *Client) Inclusion(ctx context.Context, index vaultmesh.LogIndex, size uint64) ([]vaultmesh.Digest, error) {
	p, err := get[Proof](ctx, c, call{method: "GET", path: "/v1/log/inclusion",
		query: values("index", strconv.FormatUint(uint64(index), 10), "size", strconv.FormatUint(size, 10))})
	return p.Hashes, err
}

// Consistency returns the proof that the log of one size is a prefix of that of another.
func (c *Client) Consistency(ctx context.Context, old, new uint64) ([]vaultmesh.Digest, error) {
	p, err := get[Proof](ctx, c, call{method: "GET", path: "/v1/log/consistency",
		query: values("old", strconv.FormatUint(old, 10), "new", strconv.FormatUint(new, 10))})
	return p.Hashes, err
}

// Tile returns a C2SP tlog-tiles resource, "tile/0/000" or "tile/entries/000.p/5".
func (c *Client) Tile(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, call{method: "GET", path: "/log/" + path})
}

// Devices returns the known devices.
func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	l, err := get[DeviceList](ctx, c, call{method: "GET", path: "/v1/devices"})
	return l.Devices, err
}

// Refusals says why messages of a device were refused, newest first; limit 0 means 100.
func (c *Client) Refusals(ctx context.Context, id vaultmesh.DeviceID, limit int) ([]Refusal, error) {
	l, err := get[RefusalList](ctx, c, call{method: "GET", path: "/v1/devices/" + url.PathEscape(string(id)) + "/refusals", query: values("limit", positive(limit))})
	return l.Refusals, err
}

// Revoke makes every token that holds the block invalid.
func (c *Client) Revoke(ctx context.Context, block vaultmesh.Digest, reason string) (Revocation, error) {
	return get[Revocation](ctx, c, call{method: "POST", path: "/v1/capabilities/revoke",
		body: struct {
			Block  vaultmesh.Digest `json:"block"`
			Reason string           `json:"reason"`
		}{block, reason}})
}

func commandPath(id vaultmesh.CommandID, rest string) string {
	return "/v1/commands/" + url.PathEscape(string(id)) + rest
}

// values makes a query of pairs of names and values; those with an empty value are left out.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func positive(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
