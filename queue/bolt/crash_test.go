package bolt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/queue/bolt"
	"gatewayd/queue/storetest"
)

// crashDir tells the child of TestCrash where to work.
const (
	crashDir  = "GATEWAYD_LEDGER_CRASH_DIR"
	crashRun  = "GATEWAYD_LEDGER_CRASH_RUN"
	crashRuns = 25
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir)
		return
	}
	os.Exit(m.Run())
}

// crashChild changes the ledger at random from several goroutines and says on
// its standard output what was acknowledged, until it is killed.
func crashChild(dir string) {
	run, err := strconv.ParseUint(os.Getenv(crashRun), 10, 32)
	if err != nil {
		panic(err)
	}
	s, err := bolt.Open(options(&fatal{}, dir))
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for worker := range uint64(4) {
		wg.Go(func() { crashWork(s, run, worker) })
	}
	wg.Wait()
}

// fatal is the part of testing.TB that the child needs.
type fatal struct{ testing.TB }

func (*fatal) Helper()           {}
func (*fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func crashWork(s *bolt.Store, run, worker uint64) {
	ctx := context.Background()
	now := storetest.Now().Add(time.Hour)
	// Only acknowledged facts are said; a line is one write.
	say := func(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }
	for i := uint64(0); ; i++ {
		seed := run<<24 | worker<<20 | i<<4
		batch := []queue.Accepted{storetest.Accepted(seed, 2), storetest.Registered(seed+1, 1)}
		if err := s.Index(ctx, batch, map[uint64]int64{worker: int64(run<<20 + i)}); err != nil { //nolint:gosec // small
			panic(err)
		}
		for _, a := range batch {
			say("message %s", a.Envelope.ID)
		}
		say("mark %d %d", worker, run<<20+i)
		leased, err := s.Lease(ctx, now, 1+rand.IntN(3), nil)
		if err != nil {
			panic(err)
		}
		for _, l := range leased {
			item := l.Item
			say("item %s %d %s", item.Key, item.Version, item.State)
			item.State = []message.State{message.Handed, message.Waiting, message.Refused, message.Unclear}[rand.IntN(4)]
			item.NextTry = now.Add(time.Duration(rand.IntN(7)-3) * time.Minute)
			receipt := message.Receipt{ID: message.NewID(now), Item: item.Key, Kind: message.Abgabequittung, Received: now, Digest: message.Digest{byte(rand.IntN(3))}}
			if err := s.Apply(ctx, queue.Change{
				Items: []message.Item{item}, Receipts: []message.Receipt{receipt},
				Events: []message.Event{{At: now, Kind: message.EventHanded, Message: item.Key.Message}},
			}); err != nil {
				panic(err)
			}
			say("item %s %d %s", item.Key, item.Version+1, item.State)
		}
	}
}

// TestCrash kills a process that changes the ledger, again and again on the same
// file: each time the file must be whole and hold everything that was
// acknowledged.
func TestCrash(t *testing.T) {
	runs := crashRuns
	if n, err := strconv.Atoi(os.Getenv("GATEWAYD_KILLS")); err == nil {
		runs = n
	}
	dir := t.TempDir()
	acked := 0
	for run := range runs {
		lines := crashOnce(t, dir, run)
		s, err := bolt.Open(options(t, dir))
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		checked(t, s)
		for _, line := range lines {
			if err := survived(s, line); err != nil {
				t.Errorf("run %d: acknowledged %q: %v", run, line, err)
			}
		}
		acked += len(lines)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if acked < runs {
		t.Errorf("only %d acknowledgements in %d runs: the kills come too early", acked, runs)
	}
	t.Logf("%d kills, %d acknowledgements, all there", runs, acked)
}

// crashOnce starts a child, kills it and returns what it had acknowledged.
func crashOnce(t *testing.T, dir string, run int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashRun+"="+strconv.Itoa(run))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	first, err := in.ReadString('\n') // it works
	if err != nil {
		t.Fatalf("the child said nothing: %v, %s", err, stderr.String())
	}
	killed := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
	defer killed.Stop()
	rest, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the child ended by itself: %v, %s", err, stderr.String())
	}
	text := first + string(rest)
	return strings.Split(text[:strings.LastIndexByte(text, '\n')], "\n")
}

// survived compares one acknowledgement with the ledger.
func survived(s *bolt.Store, line string) error {
	ctx := context.Background()
	f := strings.Fields(line)
	switch f[0] {
	case "message":
		id, err := message.ParseID(f[1])
		if err != nil {
			return err
		}
		_, _, err = s.Message(ctx, id)
		return err
	case "mark":
		marks, err := s.Marks(ctx)
		if err != nil {
			return err
		}
		var segment uint64
		var offset int64
		if _, err := fmt.Sscan(f[1]+" "+f[2], &segment, &offset); err != nil {
			return err
		}
		if marks[segment] < offset {
			return fmt.Errorf("mark is %d", marks[segment])
		}
		return nil
	}
	id, n, _ := strings.Cut(f[1], "/")
	var key message.ItemKey
	var err error
	if key.Message, err = message.ParseID(id); err != nil {
		return err
	}
	if key.N, err = strconv.Atoi(n); err != nil {
		return err
	}
	version, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return err
	}
	item, err := s.Item(ctx, key)
	if err != nil {
		return err
	}
	if item.Version < version || item.Version == version && string(item.State) != f[3] {
		return fmt.Errorf("version %d, state %s", item.Version, item.State)
	}
	return nil
}

// checked runs Check and fails for every problem.
func checked(t *testing.T, s *bolt.Store) {
	t.Helper()
	if err := s.Check(context.Background(), func(p string) { t.Errorf("Check: %s", p) }); err != nil {
		t.Errorf("Check: %v", err)
	}
}

// TestFailpoints: an error before the commit leaves nothing; one after it is an
// unknown outcome that turns out to be done. Both leave a whole ledger that
// goes on working.
func TestFailpoints(t *testing.T) {
	planted := errors.New("planted")
	for _, after := range []bool{false, true} {
		dir := t.TempDir()
		var fail error
		o := options(t, dir)
		hook := func() error { return fail }
		if after {
			o.Hooks.AfterCommit = hook
		} else {
			o.Hooks.BeforeCommit = hook
		}
		s, err := bolt.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		a := storetest.Accepted(1, 1)
		fail = planted
		if err := s.Index(ctx, []queue.Accepted{a}, nil); !errors.Is(err, planted) {
			t.Errorf("after %v: Index = %v, want the planted error", after, err)
		}
		if _, err := s.Item(ctx, a.Items[0].Key); (err == nil) != after {
			t.Errorf("after %v: Item = %v", after, err)
		}
		if items, err := s.Lease(ctx, storetest.Now().Add(time.Hour), 1, nil); after && !errors.Is(err, planted) || len(items) != 0 {
			t.Errorf("after %v: Lease = %d items, %v", after, len(items), err)
		}
		fail = nil
		if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
			t.Errorf("after %v: the second Index = %v", after, err)
		}
		if links, err := s.Pending(ctx, 0, 10); err != nil || len(links) != 2 && !after {
			t.Errorf("after %v: %d links, %v", after, len(links), err)
		}
		checked(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNeighbours: changes that wait together share one commit, and one that is
// refused there does not harm the others.
func TestNeighbours(t *testing.T) {
	o := options(t, t.TempDir())
	gate, commits := make(chan struct{}), 0
	o.Hooks.BeforeCommit = func() error {
		if commits++; commits == 2 { // the first one is Open's
			<-gate
		}
		return nil
	}
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		a := storetest.Accepted(uint64(i), 1) //nolint:gosec // small
		if i%2 == 1 {
			a.Items[0].EraseBy = time.Time{}
		}
		wg.Go(func() { results[i] = s.Index(ctx, []queue.Accepted{a}, nil) })
	}
	time.Sleep(50 * time.Millisecond)
	close(gate)
	wg.Wait()
	for i, err := range results {
		if errors.Is(err, queue.ErrEraseBy) != (i%2 == 1) || i%2 == 0 && err != nil {
			t.Errorf("change %d = %v", i, err)
		}
	}
	if commits > 6 {
		t.Errorf("20 changes took %d commits", commits-1)
	}
	if counts, err := s.Counts(ctx); err != nil || counts[message.Waiting] != 10 {
		t.Errorf("Counts = %v, %v, want 10", counts, err)
	}
	checked(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNoPlaintext: nothing that names a person stands in the file.
func TestNoPlaintext(t *testing.T) {
	dir := t.TempDir()
	o := options(t, dir)
	s, err := bolt.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	const token = "Planted7Q2M"
	a := storetest.Registered(1, 2)
	a.Envelope.MessageID = "<" + token + "@bl.example>"
	a.Envelope.From.Local, a.Envelope.HeaderFrom, a.Envelope.Account = token, token+"@x", token
	for i := range a.Items {
		a.Items[i].Recipient.Address.Local = token
		a.Items[i].Reference = token
		a.Items[i].Decision.Route = token
	}
	a.Events[0].Data = map[string]string{"to": token + "@example.ch"}
	if err := s.Index(ctx, []queue.Accepted{a}, nil); err != nil {
		t.Fatal(err)
	}
	leased, err := s.Lease(ctx, storetest.Now().Add(time.Hour), 2, nil)
	if err != nil || len(leased) != 2 {
		t.Fatalf("Lease = %d, %v", len(leased), err)
	}
	item := leased[0].Item
	item.State, item.RemoteID, item.SentAs, item.Reply = message.Handed, token, "<"+token+">", token
	receipt := message.Receipt{ID: message.ID{1}, Item: item.Key, Received: storetest.Now(), Detail: token, Signer: token, FileName: token, Platform: token}
	if err := s.Apply(ctx, queue.Change{Items: []message.Item{item}, Receipts: []message.Receipt{receipt}}); err != nil {
		t.Fatal(err)
	}
	found, _, err := s.Find(ctx, queue.Query{RemoteID: token})
	if err != nil || len(found) != 1 || found[0].Reply != token {
		t.Errorf("the planted text cannot be found by its index: %v, %v", found, err)
	}
	checked(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{token, strings.ToLower(token), "bl.example", "example.ch", "incamail", "fachapplikation"} {
		if strings.Contains(string(text), word) {
			t.Errorf("%q stands in clear in the ledger", word)
		}
	}
	if info, err := os.Stat(o.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file = %v, %v, want 0600", info.Mode(), err)
	}
}
