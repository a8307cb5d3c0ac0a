package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
)

// Anchors has the log dated by others. All methods are safe for concurrent use.
type Anchors interface {
	// Request asks for anchors now and returns the jobs, durable and perhaps still queued. It authorises the caller by the
	// verb anchor for the whole domain and fills in who asks. Errors: see anchor.Engine.
	Request(ctx context.Context, caller control.Caller, q anchor.Request) ([]anchor.Job, error)
	// Job returns one job with its proof, or NotFound.
	Job(ctx context.Context, id string) (anchor.Job, error)
	// Jobs returns the newest first, at most f.Limit, without their proofs; more says that there are others.
	Jobs(ctx context.Context, f anchor.Filter) (jobs []anchor.Job, more bool, err error)
	// Coverage returns the standing of every target.
	Coverage() ([]anchor.Coverage, error)
}

type (
	// AnchorRequest asks for anchors now; both members may be left out.
	AnchorRequest struct {
		Targets        []string `json:"targets,omitempty"` // names or kinds; all where it is left out
		IdempotencyKey string   `json:"idempotency_key,omitempty"`
	}
	// AnchorPage is the standing of every target, and the newest jobs first.
	AnchorPage struct {
		Targets []anchor.Coverage `json:"targets"`
		Jobs    []anchor.Job      `json:"jobs"`
		More    bool              `json:"more"` // ask again with before = the last identifier
	}
	// AnchorList are the jobs that answer a request.
	AnchorList struct {
		Jobs []anchor.Job `json:"jobs"`
	}
)

// maxTargets bounds the targets of one request.
const maxTargets = 64

func (s *Server) anchors() (Anchors, error) {
	if s.opts.Anchors == nil {
		return nil, vaultmesh.Errorf(vaultmesh.NotFound, "anchor", "", "this node anchors nowhere").WithFix("configure a target in its anchors section")
	}
	return s.opts.Anchors, nil
}

func (s *Server) getAnchors(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	a, err := s.anchors()
	if err != nil {
		return err
	}
	p := params(q, "target", "state", "before", "limit")
	f := anchor.Filter{Target: p.text("target", 128), State: anchor.State(p.text("state", 16)), Before: p.text("before", 160), Limit: p.limit(50, min(1000, s.limits.Page))}
	switch f.State {
	case "", anchor.Queued, anchor.Submitted, anchor.Confirmed, anchor.Final, anchor.Failed:
	default:
		p.fail("state", "it is not known", "use queued, submitted, confirmed, final or failed")
	}
	if p.err != nil {
		return p.err
	}
	var page AnchorPage
	if page.Targets, err = a.Coverage(); err != nil {
		return err
	}
	if page.Jobs, page.More, err = a.Jobs(q.Context(), f); err != nil {
		return err
	}
	page.Targets, page.Jobs = notNil(page.Targets), notNil(page.Jobs)
	return writeJSON(w, http.StatusOK, page)
}

func (s *Server) getAnchor(w http.ResponseWriter, q *request) error {
	if err := mayRead(q.caller, ""); err != nil {
		return err
	}
	a, err := s.anchors()
	if err != nil {
		return err
	}
	id := q.PathValue("id")
	if len(id) > 160 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "anchor", clip(id), "it is no identifier of a job").WithFix("list the jobs to see their identifiers")
	}
	j, err := a.Job(q.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, j.Clean())
}

func (s *Server) postAnchors(w http.ResponseWriter, q *request) error {
	a, err := s.anchors()
	if err != nil {
		return err
	}
	var body AnchorRequest
	if err := s.decode(q, &body); err != nil {
		return err
	}
	if len(body.Targets) > maxTargets {
		return vaultmesh.Errorf(vaultmesh.TooLarge, "body", "targets", "%d, at most %d", len(body.Targets), maxTargets)
	}
	jobs, err := a.Request(q.Context(), q.caller, anchor.Request{Targets: body.Targets, Key: body.IdempotencyKey})
	if err != nil {
		return err
	}
	for i := range jobs {
		jobs[i] = jobs[i].Clean()
	}
	// Accepted, not OK: what was asked for is under way.
	return writeJSON(w, http.StatusAccepted, AnchorList{Jobs: notNil(jobs)})
}

// Anchors returns the standing of every target and the newest jobs.
func (c *Client) Anchors(ctx context.Context, f anchor.Filter) (AnchorPage, error) {
	return get[AnchorPage](ctx, c, call{method: "GET", path: "/v1/anchors", query: values("target", f.Target, "state", string(f.State), "before", f.Before, "limit", positive(f.Limit))})
}

// Anchor returns one job with its proof. The identifier is "<target>@<size>".
func (c *Client) Anchor(ctx context.Context, id string) (anchor.Job, error) {
	return get[anchor.Job](ctx, c, call{method: "GET", path: "/v1/anchors/" + url.PathEscape(id)})
}

// AnchorNow asks for anchors. Send it again with the same key after an error that leaves open whether the node has it.
func (c *Client) AnchorNow(ctx context.Context, q anchor.Request) ([]anchor.Job, error) {
	l, err := get[AnchorList](ctx, c, call{method: "POST", path: "/v1/anchors", body: AnchorRequest{Targets: q.Targets, IdempotencyKey: q.Key}})
	return l.Jobs, err
}
