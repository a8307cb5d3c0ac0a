package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
	mcpapi "vaultmesh.org/vaultmesh/api/mcp"
	"vaultmesh.org/vaultmesh/demo"
	"vaultmesh.org/vaultmesh/node"
	"vaultmesh.org/vaultmesh/receipt"
)

type mcpCmd struct {
	As string `help:"Credential file; default: the agent of the dev node of this user, which is started if it does not run." type:"path" env:"VAULTMESH_AS"`
}

// Run speaks MCP. Nothing is connected or started before the first tool call, so that a client gets its first answer
// at once.
func (c *mcpCmd) Run(a *app) error {
	own := &ownWorld{a: a}
	defer own.stop()
	b := node.NewBridge(func(ctx context.Context) (*httpapi.Client, *receipt.Trust, error) { return c.connect(ctx, own) })
	defer b.Close()
	if c.As != "" {
		if _, err := node.LoadCredential(c.As); err != nil {
			return err // now, where a person sees it
		}
	}
	s, err := mcpapi.NewServer(mcpapi.Options{Backend: b, Version: node.Version, Commands: node.CommandDocs(), Log: a.log})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.ServeStdio(a.ctx, os.Stdin, a.out)
}

// connect opens the credential's node; without a credential the user's dev node, started if nobody runs it.
func (c *mcpCmd) connect(ctx context.Context, own *ownWorld) (*httpapi.Client, *receipt.Trust, error) {
	path := c.As
	if path == "" {
		var err error
		if path, err = own.credential(ctx); err != nil {
			return nil, nil, err
		}
	}
	cred, err := node.LoadCredential(path)
	if err != nil {
		return nil, nil, err
	}
	client, err := cred.Client()
	return client, node.LoadTrustBeside(path), err
}

// ownWorld is the dev world that an MCP client without configuration gets. If one runs already for this user, it is
// used; the lock of the data folder decides.
type ownWorld struct {
	a  *app
	mu sync.Mutex
	w  *demo.World
}

func (o *ownWorld) credential(ctx context.Context) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir, err := node.DefaultDevData()
	if err != nil {
		return "", err
	}
	path := node.CredentialPath(filepath.Join(dir, "data"), node.DevAgent)
	if answers(ctx, path) {
		return path, nil
	}
	if o.w != nil {
		o.w.Stop() // it ended, or its node did
		o.w = nil
	}
	bin, err := os.Executable()
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Internal, "mcp", "", "this program cannot find itself").Because(err)
	}
	o.a.log.Info("starting a dev node", "dir", dir)
	// The world outlives the call that starts it.
	w, err := demo.Start(context.WithoutCancel(ctx), demo.Options{Bin: bin, Dir: dir, Data: filepath.Join(dir, "data")})
	if vaultmesh.KindOf(err) == vaultmesh.Conflict { // somebody else is starting it
		return path, awaitAnswer(ctx, path)
	}
	if err != nil {
		return "", err
	}
	o.w = w
	cred, err := node.LoadCredential(path)
	if err != nil {
		return "", err
	}
	client, err := cred.Client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	// A proposal on a grid that was not measured yet would be denied for good.
	return path, w.Measured(ctx, client)
}

// awaitAnswer waits for a node that another process is starting.
func awaitAnswer(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for !answers(ctx, path) {
		select {
		case <-ctx.Done():
			return vaultmesh.Errorf(vaultmesh.Unavailable, "mcp", "", "another process is starting the dev node, and it does not answer").WithFix("retry; if it stays so, stop that process")
		case <-t.C:
		}
	}
	return nil
}

// answers reports whether the credential's node runs.
func answers(ctx context.Context, path string) bool {
	cred, err := node.LoadCredential(path)
	if err != nil {
		return false
	}
	client, err := cred.Client()
	if err != nil {
		return false
	}
	defer client.Close()
	return client.Health(ctx) == nil
}

func (o *ownWorld) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w != nil {
		o.w.Stop()
	}
}
