package demo

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"vaultmesh.org/vaultmesh"
)

// agent is a real MCP client that speaks to `vaultmesh mcp` over standard input and output, as a stock client would.
type agent struct {
	session *mcp.ClientSession
	log     *os.File
}

// commandView is what the story reads of a tool's structured answer about a command.
type commandView struct {
	ID       vaultmesh.CommandID `json:"command_id"`
	State    string              `json:"state"`
	Summary  string              `json:"summary"`
	Replayed bool                `json:"replayed"`
	AlignMS  float64             `json:"align_ms"`
	Reasons  []struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"reasons"`
	Verdict *prediction `json:"simulation"`
	History []struct {
		State string `json:"state"`
	} `json:"history"`
}

type prediction struct {
	Outcome string      `json:"outcome"`
	Reason  string      `json:"reason"`
	New     []violation `json:"new_violations"`
	Count   int         `json:"new_violations_total"`
}

type violation struct {
	Element string  `json:"element"`
	Limit   string  `json:"limit"`
	Value   float64 `json:"value"`
	Bound   float64 `json:"bound"`
	Unit    string  `json:"unit"`
	Outage  string  `json:"outage"`
}

func connectAgent(ctx context.Context, bin, dir, credential string) (*agent, error) {
	log, err := os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo.agent", dir, "cannot open the log file").Because(err)
	}
	cmd := exec.Command(bin, "mcp", "--as", credential)
	cmd.Stderr = log
	client := mcp.NewClient(&mcp.Implementation{Name: "demo-agent", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		_ = log.Close()
		return nil, vaultmesh.Errorf(vaultmesh.Unavailable, "demo.agent", "", "the MCP client cannot connect").Because(err)
	}
	return &agent{session, log}, nil
}

func (g *agent) close() {
	if g != nil {
		_ = g.session.Close()
		_ = g.log.Close()
	}
}

// tools returns the names of the tools that the server lists.
func (g *agent) tools(ctx context.Context) ([]string, error) {
	list, err := g.session.ListTools(ctx, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list.Tools {
		names = append(names, t.Name)
	}
	return names, nil
}

// call calls a tool and decodes its structured answer into out. An answer that is an error becomes one, with the
// server's words.
func (g *agent) call(ctx context.Context, tool string, args map[string]any, out any) error {
	res, err := g.session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Unavailable, "demo.agent", tool, "the call failed").Because(err)
	}
	if res.IsError {
		var words []string
		for _, c := range res.Content {
			if t, ok := c.(*mcp.TextContent); ok {
				words = append(words, t.Text)
			}
		}
		return vaultmesh.Errorf(vaultmesh.Denied, "demo.agent", tool, "%s", strings.Join(words, " "))
	}
	b, err := json.Marshal(res.StructuredContent)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return vaultmesh.Errorf(vaultmesh.Internal, "demo.agent", tool, "the answer cannot be read").Because(err)
	}
	return nil
}

func (g *agent) propose(ctx context.Context, twin vaultmesh.TwinID, command string, args map[string]any, key, reason string) (commandView, error) {
	var v commandView
	in := map[string]any{"twin": twin, "command": command, "idempotency_key": key, "reason": reason}
	if args != nil {
		in["args"] = args
	}
	return v, g.call(ctx, "propose_command", in, &v)
}

// follow waits until the command has one of the states.
func (g *agent) follow(ctx context.Context, id vaultmesh.CommandID, states ...string) (commandView, error) {
	var v commandView
	for ctx.Err() == nil {
		if err := g.call(ctx, "command_status", map[string]any{"command_id": id, "wait_seconds": 5}, &v); err != nil {
			return v, err
		}
		for _, s := range states {
			if v.State == s {
				return v, nil
			}
		}
		switch v.State {
		case "denied", "refused", "diverged", "rejected", "expired", "halted", "cancelled", "aligned":
			return v, vaultmesh.Errorf(vaultmesh.Conflict, "demo.agent", string(id), "it ended as %s: %s", v.State, v.Summary)
		}
	}
	return v, ctx.Err()
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
