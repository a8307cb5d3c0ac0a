package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/energy/pgdt"
	"vaultmesh.org/vaultmesh/energy/powerflow"
)

// fleet is the simulated grid, as a process of its own or in this one.
type fleet struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startFleet returns when every device is connected.
func startFleet(ctx context.Context, o Options, kase *powerflow.Case, addr, certs string) (*fleet, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{cancel: cancel}
	ready, ended := make(chan struct{}, 1), make(chan error, 1)
	where := "the simulated grid ran in a process of its own"
	if o.Binary != "" {
		f.wg.Go(func() { ended <- gridProcess(ctx, o, addr, certs, ready) })
	} else {
		where = "the simulated grid ran in the same process: its work counts against the node's"
		f.wg.Go(func() {
			ended <- pgdt.Run(ctx, pgdt.Config{Case: kase, Addr: addr, CertDir: certs, Rate: o.Rate, Seed: 1, Logger: o.Log, Ready: func(pgdt.Ready) { ready <- struct{}{} }})
		})
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	var err error
	select {
	case <-ready:
		return f, where, nil
	case err = <-ended:
		if err == nil {
			err = errors.New("it ended by itself")
		}
	case <-limit.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	f.stop()
	return nil, "", vaultmesh.Errorf(vaultmesh.Unavailable, "bench.fleet", caseName, "the simulated grid is not connected").Because(err)
}

func (f *fleet) stop() {
	f.cancel()
	f.wg.Wait()
}

// gridProcess runs `vaultmesh grid` until ctx ends; its first line says that it is ready.
func gridProcess(ctx context.Context, o Options, addr, certs string, ready chan<- struct{}) error {
	cmd := child(ctx, o.Binary, "grid", "--case", caseName, "--addr", addr, "--certs", certs, "--rate", fmt.Sprint(o.Rate))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for first := true; lines.Scan(); first = false {
		var r pgdt.Ready
		if first && json.Unmarshal(lines.Bytes(), &r) == nil && r.Ready {
			ready <- struct{}{}
		}
	}
	return cmd.Wait()
}
