package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/crowd"
	"vaultmesh.org/vaultmesh/lawchain/signer"
	"vaultmesh.org/vaultmesh/lawchain/witness"
	"vaultmesh.org/vaultmesh/node"
)

// witnessCmd is a witness that is no node, and what a node knows of its own witnesses.
type witnessCmd struct {
	Serve     witnessServeCmd     `cmd:"" help:"Cosign the checkpoints of logs that only grow (C2SP tlog-witness)."`
	Key       witnessKeyCmd       `cmd:"" help:"Make the key of a witness."`
	Conflicts witnessConflictsCmd `cmd:"" help:"Show the logs that told two stories, with the notes that prove it."`
	Status    witnessStatusCmd    `cmd:"" help:"Ask a node: who cosigns its log, and does a witness hold another tree?"`
}

type witnessServeCmd struct {
	Dir         string   `help:"Folder of the witness: what it cosigned. It must never be lost or put back." required:"" type:"path"`
	Key         string   `help:"File with the witness's secret key (vaultmesh witness key)." required:"" type:"existingfile"`
	Record      string   `help:"Folder in which what was cosigned is kept once more, so that a --dir that was lost or put back is found out. Default: the key's file with .record behind it." type:"path"`
	Recover     bool     `help:"Take what was cosigned from --record where --dir lost it. Only if --record itself was not put back from a backup."`
	Log         []string `help:"Verifier key of a log; repeat it for more." required:"" sep:"none" placeholder:"VKEY"`
	Listen      string   `help:"Address." default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	Certificate string   `help:"PEM file; without one the witness speaks plain HTTP, which is for a proxy on this machine." type:"existingfile" and:"tls"`
	TLSKey      string   `name:"tls-key" help:"PEM file with the certificate's key." type:"existingfile" and:"tls"`
}

// Bounds of one connection to a witness.
const (
	witnessRead        = 15 * time.Second
	witnessWrite       = 30 * time.Second
	witnessIdle        = 2 * time.Minute
	witnessStop        = 10 * time.Second
	witnessConnections = 256 // beyond it the oldest of the busiest network is closed
)

// Run cosigns until it is told to stop.
func (c *witnessServeCmd) Run(a *app) error {
	secret, err := signer.ReadSecret(c.Key)
	if err != nil {
		return err
	}
	s, vkey, err := witness.LoadKey(secret)
	if err != nil {
		return vaultmesh.Wrap(err, "witness", c.Key)
	}
	var logs []note.Verifier
	for _, text := range c.Log {
		v, err := note.NewVerifier(text)
		if err != nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, "witness", text, "not the verifier key of a log").Because(err).WithFix("quote it: name+hash+base64")
		}
		logs = append(logs, v)
	}
	if c.Record == "" {
		c.Record = c.Key + ".record"
	}
	w, err := witness.NewServer(witness.ServerOptions{Dir: c.Dir, Record: c.Record, Recover: c.Recover, Signer: s, Logs: logs, Log: a.log})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(vaultmesh.Errorf(vaultmesh.Unavailable, "witness", c.Listen, "cannot listen").Because(err), w.Close())
	}
	l = crowd.New(witnessConnections).Listen(l)
	scheme := "http"
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.TLSKey)
		if err != nil {
			return errors.Join(vaultmesh.Errorf(vaultmesh.Invalid, "witness", c.Certificate, "not a certificate with its key").Because(err), l.Close(), w.Close())
		}
		scheme, l = "https", tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	} else if ip := l.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		return errors.Join(vaultmesh.Errorf(vaultmesh.Invalid, "witness", c.Listen, "plain HTTP is for this machine only").WithFix("give --certificate and --tls-key, or listen on 127.0.0.1 behind a proxy"), l.Close(), w.Close())
	}
	server := &http.Server{Handler: w, ReadHeaderTimeout: witnessRead, ReadTimeout: witnessRead, WriteTimeout: witnessWrite, IdleTimeout: witnessIdle, MaxHeaderBytes: 16 << 10}
	if err := ready(a, map[string]any{"ready": true, "url": scheme + "://" + l.Addr().String(), "key": vkey, "dir": c.Dir}); err != nil {
		return errors.Join(err, l.Close(), w.Close())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err = <-failed:
	case <-a.ctx.Done():
		ctx, cancel := context.WithTimeout(context.Background(), witnessStop)
		err = server.Shutdown(ctx)
		cancel()
		<-failed
	}
	return errors.Join(err, w.Close())
}

type witnessKeyCmd struct {
	Out  string `arg:"" help:"New file for the secret key." type:"path"`
	Name string `help:"Name of the witness: a URL without its scheme." required:""`
}

// Run makes a key and prints the verifier key, which goes into policies.
func (c *witnessKeyCmd) Run(a *app) error {
	if _, err := os.Lstat(c.Out); err == nil {
		return vaultmesh.Errorf(vaultmesh.Conflict, "witness.key", c.Out, "the file exists").WithFix("choose another name: a key that is overwritten is gone for good")
	}
	secret, vkey, err := witness.GenerateKey(c.Name)
	if err != nil {
		return err
	}
	if err := node.WriteSecret(c.Out, []byte(secret+"\n")); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, vkey)
	return err
}

type witnessConflictsCmd struct {
	Dir  string `arg:"" help:"Folder of the witness, or <data>/witness (a node as a witness), or <data>/witness-alarms (what the witnesses of a node's own log hold against it; there is none before the first)." type:"path"`
	JSON bool   `help:"Print JSON, with the notes."`
}

// Run shows the evidence. Status 0 where there is none, 1 where a log told two stories.
func (c *witnessConflictsCmd) Run(a *app) error {
	list, err := witness.Conflicts(c.Dir)
	if vaultmesh.KindOf(err) == vaultmesh.NotFound {
		if err = c.absent(err); err != nil {
			explain(a.errOut, err)
			return status(exitUnusable)
		}
	}
	if err != nil {
		return err
	}
	if list == nil {
		list = []witness.Conflict{}
	}
	if c.JSON {
		b, err := json.Marshal(map[string]any{"conflicts": list})
		if err == nil {
			_, err = fmt.Fprintln(a.out, string(b))
		}
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.out, counted(len(list), "conflict"))
		for _, x := range list {
			found := x.Found
			if found == "" {
				found = "equivocation"
			}
			fmt.Fprintf(a.out, "\n%s of %s at size %d, seen %s", found, x.Origin, x.Size, x.Seen.Local().Format(time.RFC3339))
			if x.Witness != "" {
				fmt.Fprintf(a.out, " by %s", x.Witness)
			}
			fmt.Fprintf(a.out, "\n\nheld:\n%s\noffered:\n%s", x.Held, x.Offered)
		}
	}
	if len(list) > 0 {
		return status(exitNo)
	}
	return nil
}

// absent is nil where the folder of alarms is not there in the data folder of a node, which makes it at its first alarm.
func (c *witnessConflictsCmd) absent(cause error) error {
	if _, err := os.Lstat(c.Dir); errors.Is(err, fs.ErrNotExist) && filepath.Base(c.Dir) == "witness-alarms" {
		data := filepath.Dir(c.Dir)
		if st, err := os.Stat(filepath.Join(data, "journal")); err == nil && st.IsDir() {
			return nil
		}
		return vaultmesh.Errorf(vaultmesh.NotFound, "witness.conflicts", c.Dir, "it is not there, and %s is not the data folder of a node", data).WithFix("name <data>/witness-alarms, <data>/witness, or the folder of `vaultmesh witness serve`")
	}
	return cause
}

type witnessStatusCmd struct{ asking }

// Run shows the state of witnessing. Status 0 unless there is an alarm.
func (c *witnessStatusCmd) Run(a *app, n *asked) error {
	w, err := n.Witnesses(a.ctx)
	if err != nil {
		return err
	}
	err = c.show(a, w, func(s *sheet) {
		tellWitnessed(s, w)
		s.space()
		s.table("witness", "cosigned", "address", "error")
		for _, p := range w.Peers {
			s.row(p.Name, p.Cosigned, p.URL, p.Error)
		}
	})
	if err == nil && w.Alarm {
		err = status(exitNo)
	}
	return err
}

// tellWitnessed says how much of the log is witnessed, and what is wrong.
func tellWitnessed(s *sheet, w witness.Status) {
	s.fact("witnessed", "%s", counted(int(w.Size), "receipt"))
	if !w.Unmet.IsZero() {
		s.fact("", "waiting since %s for the quorum of a newer checkpoint", w.Unmet.Local().Format("15:04:05"))
	}
	switch {
	case w.Conflict != "":
		s.painted(red, "ALARM", "a witness holds another tree of this log (%s): `vaultmesh witness conflicts DATA/witness-alarms` shows the notes", w.Conflict)
	case w.Alarm:
		s.painted(red, "ALARM", "the policy has not been met for too long: no quorum of witnesses answers")
	}
}
