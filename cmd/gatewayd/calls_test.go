//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"gatewayd/message"
)

// TestEveryCallFails lets every call by which one message changes the disk fail
// once, from its first octet until its receipt is filed, in the real program:
// the client hears 250 or 4xx, what was acknowledged arrives, what was refused
// does not, and the program goes on by itself (quality goal R4).
// GATEWAYD_CALLS=1 takes every call; otherwise a few are drawn.
func TestEveryCallFails(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	tr := r.traced(t)
	s.tell(0) // a first one, so that keys and folders are there
	for _, how := range []spoil{failsEIO, failsENOSPC, failsShort} {
		for _, kind := range []int{0, 4} { // a registered decision with its receipt; a body in a file of its own
			s.each(how, kind, func(at int) []string {
				tr.arm(how, at, at)
				s.tell(kind)
				return tr.disarm()
			})
		}
	}
	select {
	case <-tr.ended:
		t.Errorf("the program has ended: %v\n%s", tr.status, tailOf(r.log.String(), 3000))
	default:
	}
	tr.kill()
	s.account()
}

// TestDiskBreaks lets every call from one on fail, until the disk is whole
// again: nothing is acknowledged meanwhile that is not kept, and the program
// goes on by itself.
func TestDiskBreaks(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	tr := r.traced(t)
	s.tell(0)
	s.each(failsEIO, 0, func(at int) []string {
		tr.arm(failsEIO, at, math.MaxInt)
		token, err := s.send(0)
		if err != nil {
			s.refuses(token, err)
		}
		time.Sleep(300 * time.Millisecond) // the loops meet the broken disk, too
		spoilt := tr.disarm()
		s.finish(0)
		return spoilt
	})
	tr.kill()
	s.account()
}

// TestKillAtEveryCall kills the program just before every call by which a start
// and one message change the disk, and starts it again.
func TestKillAtEveryCall(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	for _, kind := range []int{0, 4} {
		s.each(kills, kind, func(at int) []string {
			tr := r.tracedFrom(t, kills, at)
			s.tells(kind, tr.ended)
			select {
			case <-tr.ended:
				return tr.disarm()
			default:
				tr.kill()
				return nil
			}
		})
	}
	s.account()
}

// TestEveryCallOfAStartFails lets every call by which a start changes the disk
// fail once: the program works all the same, or ends with exit code 1 and a word
// about it; the next start works.
func TestEveryCallOfAStartFails(t *testing.T) {
	r := newRig(t, tormentable)
	s := newStories(r)
	up, ended := 0, 0
	for _, how := range []spoil{failsEIO, failsENOSPC} {
		s.each(how, 0, func(at int) []string {
			ready := func() int { return strings.Count(r.log.String(), `"msg":"ready"`) }
			before := ready()
			tr := r.tracedFrom(t, how, at)
			for ready() == before {
				select {
				case <-tr.ended:
					ended++
					if tr.status.ExitStatus() != 1 || !strings.Contains(r.log.String(), "gatewayd: error:") {
						t.Errorf("%s at call %d of a start: it ended with status %x\n%s", how, at, tr.status, tailOf(r.log.String(), 2000))
					}
					return tr.disarm()
				case <-time.After(5 * time.Millisecond):
				}
			}
			up++
			spoilt := tr.disarm()
			s.tell(0)
			tr.kill() // so that the next start has something to put in order
			return spoilt
		})
	}
	t.Logf("%d starts worked, %d ended with a word", up, ended)
	s.account()
}

// stories sends one message after the other and waits for the end of each.
type stories struct {
	*rig
	n       int
	ack     *acknowledged
	refused map[string]bool // tokens that must never arrive
	tried   int
}

func newStories(r *rig) *stories {
	return &stories{rig: r, ack: &acknowledged{sent: map[string]sent{}}, refused: map[string]bool{}}
}

// each calls do for the calls of a story, until there is none of that number.
func (s *stories) each(how spoil, kind int, do func(at int) (spoilt []string)) {
	step := 1
	if os.Getenv("GATEWAYD_CALLS") == "" {
		step = 41
	}
	seen := 0
	for at := 1 + rand.N(step); ; at += step {
		spoilt := do(at)
		if len(spoilt) == 0 {
			break
		}
		seen++
		if testing.Verbose() {
			s.t.Logf("%s, %s, call %d: %s", how, load[kind].class, at, spoilt[0])
		}
	}
	s.tried += seen
	s.t.Logf("%s, %s of up to %d lines: %d calls", how, load[kind].class, load[kind].lines, seen)
}

// tell sends a message until it is acknowledged, and waits for its end.
func (s *stories) tell(kind int) { s.t.Helper(); s.tells(kind, nil) }

// tells is tell that gives up when the program has ended.
func (s *stories) tells(kind int, ended <-chan struct{}) {
	s.t.Helper()
	over := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	for end := time.Now().Add(patience); !over(); {
		token, err := s.send(kind)
		if err == nil {
			s.ends(s.ack.sent[token], over)
			return
		}
		if ended == nil { // else it may be starting, or have died just now
			s.refuses(token, err)
		}
		if time.Now().After(end) {
			s.t.Fatalf("not accepted any more: %v\n%s", err, tailOf(s.log.String(), 3000))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// finish tells a story from its beginning or, if that was acknowledged, from
// there.
func (s *stories) finish(kind int) {
	s.t.Helper()
	if done, ok := s.ack.sent[s.token()]; ok {
		s.ends(done, func() bool { return false })
		return
	}
	s.tell(kind)
}

func (s *stories) token() string { return fmt.Sprintf("token-0-0-%d", s.n) }

// send sends one message over a connection of its own.
func (s *stories) send(kind int) (token string, err error) {
	s.n++
	token = s.token()
	conf, err := s.clientTLS()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := gosmtp.DialStartTLS(s.ports.Submission, conf)
	if err != nil {
		return token, err
	}
	defer c.Close()
	return token, sendOne(c, token, kind, s.ack)
}

// refuses: what is not acknowledged is refused for now, in words.
func (s *stories) refuses(token string, err error) {
	s.t.Helper()
	s.refused[token] = true
	var reply *gosmtp.SMTPError
	if !errors.As(err, &reply) || reply.Code < 400 || reply.Code > 499 {
		s.t.Errorf("%s: neither 250 nor 4xx: %v\n%s", token, err, tailOf(s.log.String(), 3000))
	}
}

// ends waits until a message is delivered and its receipt is filed.
func (s *stories) ends(m sent, over func() bool) {
	s.t.Helper()
	await(s.t, "the end of "+m.id.String(), func() bool {
		stories, err := s.operator().Trace(context.Background(), testReading(), m.id.String())
		if over() {
			return true
		}
		if err != nil || len(stories) != 1 {
			return false
		}
		item := stories[0].Items[0]
		if load[m.kind].class != message.Registered {
			return item.State.Final()
		}
		return item.State.Final() || item.State == message.Unclear || item.State == message.Held || item.Case == message.CaseSubmitted
	})
}

// account starts the program once more, in order, and compares.
func (s *stories) account() {
	s.t.Helper()
	s.start()
	s.settled()
	s.rig.account(s.ack, fmt.Sprintf("%d calls spoilt, %d messages refused", s.tried, len(s.refused)))
	for token := range s.arrived(s.ack) {
		if s.refused[token] {
			s.t.Errorf("%s was refused and arrived all the same", token)
		}
	}
	s.sound("afterwards")
	if strings.Contains(s.log.String(), "do not belong together") {
		s.t.Error("a fault of the disk was taken for a restored backup")
	}
}
