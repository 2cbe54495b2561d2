package config

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatewayd/crypto/cms"
	"gatewayd/crypto/hsm"
	"gatewayd/crypto/keys"
	"gatewayd/keyagent"
	"gatewayd/retention"
)

// KeyRing holds the key ring as it was read last: all of it from the folder, or the
// authorities' own keys from the key agent.
type KeyRing struct {
	dir     string
	agent   *keyagent.Client // nil: the own keys lie in the folder
	current atomic.Pointer[keys.Ring]

	mu     sync.Mutex // of what follows, and while it is read
	public *keys.Ring
}

// agentTime is how long the agent may take to list its keys.
const agentTime = 10 * time.Second

// Get returns the ring of now.
func (k *KeyRing) Get() *keys.Ring { return k.current.Load() }

// Reload reads the folder again, and asks the agent; with a faulty file the old
// ring stays.
func (k *KeyRing) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ring, problems := k.load()
	if len(problems) > 0 {
		return problems[0].Err // the file's name may hold an address: not for the log
	}
	k.public = ring
	k.ask()
	return nil
}

func (k *KeyRing) load() (*keys.Ring, []keys.Problem) {
	if k.agent == nil {
		return keys.Load(k.dir)
	}
	return keys.LoadPublic(k.dir)
}

// ask takes the own keys from the agent; mu is held. One that cannot be reached
// leaves them unknown, and Get's ring says so.
func (k *KeyRing) ask() error {
	if k.agent == nil {
		k.current.Store(k.public)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), agentTime)
	defer cancel()
	own, _, err := k.agent.Keys(ctx)
	if err != nil {
		own = nil
	}
	k.current.Store(k.public.WithOwn(own, err))
	return err
}

// Agent is what the keys are asked of; nil: they lie in the folder.
func (k *KeyRing) Agent() *keyagent.Client { return k.agent }

// Follow keeps the own keys as the agent has them until ctx ends, and tells after
// each change whether it can be reached.
func (k *KeyRing) Follow(ctx context.Context, told func(context.Context, error)) {
	k.agent.Follow(ctx, func([]keys.Own, error) {
		k.mu.Lock()
		err := k.ask() // in turn with Reload: what was asked last counts
		k.mu.Unlock()
		told(ctx, err)
	})
}

func (b *builder) keyring(c *Config) {
	c.Ring = &KeyRing{dir: c.Keyring}
	if path := b.file.Keys.Agent; path != "" {
		c.Ring.agent = keyagent.NewClient(b.path(path))
	}
	ring, problems := c.Ring.load()
	for _, p := range problems {
		b.add("keyring", "%s: %v", p.File, p.Err)
	}
	if c.Ring.public = ring; c.Ring.agent != nil {
		ring = ring.WithOwn(nil, fmt.Errorf("the key agent has not been asked yet: %w", cms.ErrKeyAway))
	}
	c.Ring.current.Store(ring)
}

// Agent is the configuration of the key agent.
type Agent struct {
	Socket        string
	Keyring       string
	Uses          string
	Users, Groups []int
	Quota         int
	Token         *hsm.Options                 // nil: there is none
	Master        string                       // PKCS #11 URI of the secret key behind the gateway's master key; empty: none
	Until         func(at time.Time) time.Time // how long a line of the log of uses is kept
}

// LoadAgent reads what the key agent needs of a configuration, and nothing that it
// names: the secrets of the gateway are none of its own.
func LoadAgent(path string) (Agent, []Problem) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Agent{}, []Problem{{File: path, Text: plainError(err) + "; gatewayd config describe explains every key"}}
	}
	d := parse(path, text)
	if d.broken() {
		return Agent{}, sorted(d.problems)
	}
	b := builder{document: d, dir: filepath.Dir(path)}
	var a Agent
	if b.file.KeyAgent == nil {
		b.add("keyagent", "is missing: the key agent has no configuration")
	}
	b.keyAgent(&a)
	if k := b.file.KeyAgent; k != nil && k.PKCS11 != nil {
		a.Token = &hsm.Options{Module: k.PKCS11.Module, PIN: b.secret("keyagent.pkcs11.pin", k.PKCS11.PIN)}
	}
	return a, sorted(b.problems)
}

func (b *builder) keyAgent(a *Agent) {
	k := b.file.KeyAgent
	if k == nil {
		return
	}
	w := retention.Windows{Profile: b.file.Retention.Profile, ContentMonths: b.file.Retention.ContentMonths, LogMonths: b.file.Retention.LogMonths}
	*a = Agent{
		Socket: b.path(b.file.Keys.Agent), Keyring: b.path(b.file.Keyring), Uses: b.path(k.Uses), Quota: k.Quota, Master: k.Master,
		Until: func(at time.Time) time.Time { return w.LogDay(at).End() },
	}
	if a.Socket == "" {
		b.add("keys.agent", "is missing: the socket where the key agent listens")
	}
	if k.Master != "" && k.PKCS11 == nil {
		b.add("keyagent.master", "stands without keyagent.pkcs11")
	}
	if k.Quota < 1 {
		b.add("keyagent.quota", "%d: write how often a key may be used in a minute", k.Quota)
	}
	for _, name := range k.Users {
		a.Users = b.number(a.Users, "keyagent.users", name, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
	}
	for _, name := range k.Groups {
		a.Groups = b.number(a.Groups, "keyagent.groups", name, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
	}
}

// number adds the number of a user or group.
func (b *builder) number(list []int, key, name string, look func(string) (string, error)) []int {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return append(list, int(n))
	}
	text, err := look(name)
	n, err2 := strconv.Atoi(text)
	if err != nil || err2 != nil {
		b.bad(key, "%q: no such name on this machine", name)
		return list
	}
	return append(list, n)
}
