package keysources

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"gatewayd/crypto/keys"
	"gatewayd/keybook"
	"gatewayd/message"
)

// fake is a source that says what a test wants.
type fake struct {
	name keys.Source
	mu   sync.Mutex
	say  map[string][]keybook.Entry
	err  error
	n    int
}

func (f *fake) Name() keys.Source { return f.name }

func (f *fake) Find(_ context.Context, a message.Address) ([]keybook.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.say[a.Key()], f.err
}

func (f *fake) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func newLookup(t *testing.T, clock *time.Time, sources ...Asked) (*Lookup, *keybook.Book) {
	book := newBook(t)
	return New(Options{Sources: sources, Book: book, Now: func() time.Time { return *clock }, Log: slog.New(slog.DiscardHandler)}), book
}

// TestOrder: the first source that has a usable key ends the search; what it is
// trusted with depends on the source; keys of others are not taken.
func TestOrder(t *testing.T) {
	issuer := newCA()
	clock := now
	bob := addr("bob@partner.example")
	eves := keybook.Entry{Cert: issuer.mail("eve@partner.example").Raw}
	old, _ := issuer.issue(ended("bob@partner.example"))
	mine := keybook.Entry{Cert: issuer.mail("bob@partner.example").Raw}
	pgp := keybook.Entry{OpenPGP: pgpKey("bob@partner.example", "eve@partner.example")}
	ldap := &fake{name: keys.LDAP, say: map[string][]keybook.Entry{"bob@partner.example": {eves, {Cert: old.Raw}, {OpenPGP: []byte("junk")}}}}
	wkd := &fake{name: keys.WKD, err: errors.New("no route")}
	hkps := &fake{name: keys.HKPS, say: map[string][]keybook.Entry{"bob@partner.example": {mine, pgp}}}
	dane := &fake{name: keys.DANE}
	l, book := newLookup(t, &clock, Asked{Source: ldap, Vouches: true}, Asked{Source: wkd, Vouches: true}, Asked{Source: hkps}, Asked{Source: dane})
	got := l.Find(t.Context(), bob)
	want := []Attempt{{Source: keys.LDAP}, {Source: keys.WKD, Err: "no route"}, {Source: keys.HKPS, Found: 2, Learned: []keybook.Outcome{keybook.New, keybook.Waits}}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	trust := map[string]keys.Trust{}
	for _, p := range must(book.Partners(bob)) {
		trust[string(p.Technique())] = p.Trust
	}
	if trust["smime"] != keys.Anchored || trust["openpgp"] != keys.Waiting {
		t.Errorf("%v", trust)
	}
	if list := must(book.Partners(addr("eve@partner.example"))); len(list) != 0 {
		t.Error("a key of bob's mail became eve's")
	}
	if dane.asked() != 0 {
		t.Error("a source is asked behind the one that has keys")
	}
}

func ended(mail string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.EmailAddresses, c.NotAfter = []string{mail}, now.AddDate(0, 0, -1) }
}

// TestRemembers: many messages make one question, for a time that depends on
// the answer.
func TestRemembers(t *testing.T) {
	clock := now
	src := &fake{name: keys.WKD, say: map[string][]keybook.Entry{"has@partner.example": {{OpenPGP: pgpKey("has@partner.example")}}}}
	sick := &fake{name: keys.HKPS, err: errors.New("down")}
	arrived := make(chan string, 10)
	l, _ := newLookup(t, &clock, Asked{Source: src, Vouches: true, Domains: []string{"Partner.example"}}, Asked{Source: sick, Domains: []string{"sick.example"}})
	l.o.Arrived = func(a message.Address, _ []Attempt) { arrived <- a.Key() }
	var mu sync.Mutex
	l.o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for _, c := range []struct {
		address string
		after   time.Duration
		want    bool
	}{
		{"has@partner.example", 0, true},
		{"has@sub.partner.example", 0, true},
		{"has@other.example", 0, false},
		{"has@partner.example", time.Hour, false},
		{"none@partner.example", time.Hour, true},
		{"none@partner.example", time.Hour + 59*time.Minute, false},
		{"none@partner.example", 2*time.Hour + time.Minute, true},
		{"a@sick.example", 3 * time.Hour, true},
		{"a@sick.example", 3*time.Hour + 4*time.Minute, false},
		{"a@sick.example", 3*time.Hour + 6*time.Minute, true},
		{"has@partner.example", 25 * time.Hour, true},
	} {
		mu.Lock()
		clock = now.Add(c.after)
		mu.Unlock()
		if got := l.Want(addr(c.address)); got != c.want {
			t.Errorf("%s after %s: %v", c.address, c.after, got)
		}
		if c.want {
			select {
			case <-arrived:
			case <-time.After(2 * time.Minute):
				t.Fatalf("%s: no answer", c.address)
			}
		}
	}
	if src.asked() != 5 || sick.asked() != 2 {
		t.Errorf("asked %d and %d times", src.asked(), sick.asked())
	}
}

// TestBurst: strangers cannot make us ask without end.
func TestBurst(t *testing.T) {
	clock := now
	src := &fake{name: keys.WKD}
	l, _ := newLookup(t, &clock, Asked{Source: src})
	taken := 0
	for i := range 500 {
		if l.Want(addr(fmt.Sprintf("u%d@partner.example", i))) {
			taken++
		}
	}
	if taken != 120 {
		t.Errorf("%d lookups in one minute", taken)
	}
	clock = clock.Add(time.Minute)
	if first, again := l.Want(addr("later@partner.example")), l.Want(addr("later@partner.example")); !first || !again {
		t.Error("not in the next minute either")
	}
	if l.Want(addr("x@[127.0.0.1]")) {
		t.Error("an address literal is looked up")
	}
}

// TestTrustOf: what stands in a record itself wins.
func TestTrustOf(t *testing.T) {
	var got []keys.Trust
	for _, s := range []Asked{{Vouches: true}, {}} {
		for _, e := range []keybook.Entry{{Cert: []byte{1}}, {OpenPGP: []byte{1}}, {Cert: []byte{1}, Trust: keys.Anchored}} {
			got = append(got, s.trust(e))
		}
	}
	if want := []keys.Trust{keys.Direct, keys.Direct, keys.Anchored, keys.Anchored, keys.Waiting, keys.Anchored}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
