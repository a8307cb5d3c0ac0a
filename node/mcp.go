package node

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	mcpapi "vaultmesh.org/vaultmesh/api/mcp"
	"vaultmesh.org/vaultmesh/control"
	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/energy/grid"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/lawchain/anchor"
	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/twin"
)

// local is the node as MCP tools see it in the same process. Simulate, Propose, Command and the rest of control are
// its methods as they are.
type local struct {
	*control.Service
	n *Node
}

func (l local) Twins(_ context.Context, _ control.Caller, f mcpapi.TwinFilter) (mcpapi.TwinPage, error) {
	var page mcpapi.TwinPage
	twins{l.n}.Each(f.After, func(t twin.Twin) bool {
		if !strings.HasPrefix(string(t.ID), f.Prefix) || f.Device != "" && t.Device != f.Device || f.Model != "" && !l.n.models.IsA(t.Model, f.Model) {
			return true
		}
		if len(page.Twins) == f.Limit {
			page.Next = page.Twins[len(page.Twins)-1].ID
			return false
		}
		page.Twins = append(page.Twins, t)
		return true
	})
	return page, nil
}

func (l local) Twin(_ context.Context, _ control.Caller, id vaultmesh.TwinID) (twin.Twin, error) {
	t, ok := twins{l.n}.Get(id)
	if !ok {
		return twin.Twin{}, vaultmesh.Errorf(vaultmesh.NotFound, "twin", string(id), "there is no such twin").WithFix("list the twins to see their identifiers")
	}
	return t, nil
}

func (l local) History(ctx context.Context, _ control.Caller, id vaultmesh.TwinID, name string, from, to time.Time, limit int) ([]twin.Point, error) {
	return twins{l.n}.History(ctx, id, name, from, to, limit)
}

func (l local) Commands(ctx context.Context, caller control.Caller, f control.Filter) ([]control.Command, error) {
	return l.List(ctx, caller, f)
}

func (l local) HaltState(context.Context, control.Caller) (control.HaltState, error) {
	return l.Service.HaltState(), nil
}

func (l local) Bundle(ctx context.Context, _ control.Caller, ids []vaultmesh.CommandID) ([]byte, error) {
	return evidence{l.n}.Bundle(ctx, httpapi.BundleQuery{Scope: receipt.Scope{Commands: ids}})
}

func (l local) Search(ctx context.Context, _ control.Caller, q lawchain.Search) (lawchain.Answer, error) {
	return evidence{l.n}.Search(ctx, q)
}

func (l local) State(ctx context.Context, _ control.Caller, key string, size uint64) (mcpapi.StateProof, error) {
	p, err := evidence{l.n}.State(ctx, key, size)
	return stateProof(p), err
}

// stateProof is what the tools take of an answer: they read the rest out of the proof.
func stateProof(p httpapi.StateProof) mcpapi.StateProof {
	return mcpapi.StateProof{Size: p.Size, Receipt: p.Receipt, Root: p.Root, Entries: p.Entries, Time: p.Time, Proof: p.Proof}
}

func (l local) AnchorNow(ctx context.Context, caller control.Caller, q anchor.Request) ([]anchor.Job, error) {
	return l.n.anchors.Request(ctx, caller, q)
}

func (l local) Anchor(ctx context.Context, _ control.Caller, id string) (anchor.Job, error) {
	return l.n.anchors.Job(ctx, id)
}

func (l local) Anchors(ctx context.Context, _ control.Caller, f anchor.Filter) ([]anchor.Job, []anchor.Coverage, error) {
	jobs, _, err := l.n.anchors.Jobs(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	coverage, err := l.n.anchors.Coverage()
	return jobs, coverage, err
}

func (l local) Trust(context.Context) (*receipt.Trust, error) { return l.n.trusted() }

// CommandDocs describes the commands of the shipped models, for a face that has no node in its own process. The models are
// parsed when the first is asked for.
func CommandDocs() func(ctx context.Context, model string) ([]mcpapi.CommandDoc, error) {
	parsed := sync.OnceValues(shippedModels)
	return func(ctx context.Context, model string) ([]mcpapi.CommandDoc, error) {
		models, err := parsed()
		if err != nil {
			return nil, err
		}
		return commandDocs(models)(ctx, model)
	}
}

func shippedModels() (*dtdl.Set, error) {
	models, err := dtdl.Parse(grid.Models(), dtdl.Options{})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "models", "", "the shipped models do not parse").Because(err)
	}
	return models, nil
}

// commandDocs describes the commands of a model to agents.
func commandDocs(models *dtdl.Set) func(ctx context.Context, model string) ([]mcpapi.CommandDoc, error) {
	return func(_ context.Context, model string) ([]mcpapi.CommandDoc, error) {
		i, ok := models.Interface(model)
		if !ok {
			return nil, nil
		}
		var out []mcpapi.CommandDoc
		for _, content := range i.Contents() {
			c, ok := content.(*dtdl.Command)
			if !ok {
				continue
			}
			doc := mcpapi.CommandDoc{Name: c.Name(), Description: c.Description().In("en")}
			if p := c.Request(); p != nil {
				fields := map[string]string{}
				for _, f := range p.Schema().Fields() {
					text := f.Schema().Kind().String()
					if d := f.Description().In("en"); d != "" {
						text += ": " + d
					}
					fields[f.Name()] = text
				}
				b, err := json.Marshal(fields)
				if err != nil {
					return nil, vaultmesh.Errorf(vaultmesh.Internal, "models", model, "cannot encode").Because(err)
				}
				doc.Arguments = b
			}
			out = append(out, doc)
		}
		return out, nil
	}
}
