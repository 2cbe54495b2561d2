package directory

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// Right is what a token allows its holder.
type Right string

// The rights. One does not contain another.
const (
	RightSend     Right = "send"     // hand in messages
	RightRead     Right = "read"     // messages, receipts and events of its authority
	RightHandover Right = "handover" // confirm that the authority's file has a message
	RightAccess   Right = "access"   // what its authority holds about one person, for that person
)

// Rights lists every right.
func Rights() []Right { return []Right{RightSend, RightRead, RightHandover, RightAccess} }

// Token is a credential of the HTTP API without its secret.
type Token struct {
	Name      string
	Authority string // the only one whose things it can reach
	Rights    []Right
	Delegate  bool // set while it acts for an authority that is not its own
}

// May reports whether the token has a right.
func (t Token) May(r Right) bool { return slices.Contains(t.Rights, r) }

// Tokens is the token file: one "name:authority:right,right:sha256" per line,
// the SHA-256 of the secret in hexadecimal; blank lines and lines that begin
// with # are skipped. The secrets have 256 random bits, so that a fast hash is
// enough, and stand nowhere.
type Tokens struct {
	path   string
	stored atomic.Pointer[[]storedToken]
}

type storedToken struct {
	Token
	sum [sha256.Size]byte
}

// secretPrefix lets scanners of source code and logs recognise a secret that
// went astray.
const secretPrefix = "gwd_"

// maxSecret bounds what is hashed for a stranger.
const maxSecret = 256

// NewToken makes a token: the secret for its holder, to be shown once, and the
// line for the token file.
func NewToken(name, authority string, rights ...Right) (secret, line string, err error) {
	var raw [32]byte
	rand.Read(raw[:])
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	words := make([]string, len(rights))
	for i, r := range rights {
		words[i] = string(r)
	}
	sum := sha256.Sum256([]byte(secret))
	line = strings.Join([]string{name, authority, strings.Join(words, ","), hex.EncodeToString(sum[:])}, ":")
	if _, _, mistake := parseToken(line); mistake != "" {
		return "", "", fmt.Errorf("new token: %s", mistake)
	}
	return secret, line, nil
}

// LoadTokens reads the token file. It returns Tokens only if there is no
// mistake; otherwise all of them. With an empty file nobody can use the API.
func LoadTokens(path string) (*Tokens, []Problem) {
	stored, problems := loadTokens(path)
	if len(problems) > 0 {
		return nil, problems
	}
	t := &Tokens{path: path}
	t.stored.Store(&stored)
	return t, nil
}

// Reload reads the file again. With any mistake the old state stays, and the
// error lists them all. A token that is no longer in the file ends at once.
func (t *Tokens) Reload() error {
	stored, problems := loadTokens(t.path)
	if len(problems) > 0 {
		return fmt.Errorf("reload tokens, the old ones stay: %w", problemsError(problems))
	}
	t.stored.Store(&stored)
	return nil
}

func loadTokens(path string) ([]storedToken, []Problem) {
	text, problem := readFile(path)
	if problem != nil {
		return nil, []Problem{*problem}
	}
	var stored []storedToken
	var problems []Problem
	n, names, sums := 0, map[string]int{}, map[[sha256.Size]byte]int{}
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		t, column, mistake := parseToken(line)
		switch first, twice := names[t.Name], sums[t.sum]; {
		case mistake != "":
		case first > 0:
			column, mistake = 1, fmt.Sprintf("the token stands on line %d already", first)
		case twice > 0:
			column, mistake = len(line)-hex.EncodedLen(sha256.Size)+1, fmt.Sprintf("the same secret stands on line %d", twice)
		}
		if mistake != "" {
			problems = append(problems, Problem{File: path, Line: n, Column: column, Text: mistake})
			continue
		}
		names[t.Name], sums[t.sum] = n, n
		stored = append(stored, t)
	}
	return stored, problems
}

// parseToken reads one line; it never quotes it, because it may hold a secret
// that somebody wrote in the clear.
func parseToken(line string) (t storedToken, column int, mistake string) {
	fields := strings.Split(line, ":")
	if len(fields) != 4 {
		return t, 1, "must be name:authority:rights:sha256; gatewayd token new writes such a line"
	}
	t.Name, t.Authority = fields[0], fields[1]
	if !isName(t.Name) {
		return t, 1, fmt.Sprintf("a token name has 1 to %d printable characters and no space", maxName)
	}
	if column = len(t.Name) + 2; !isName(t.Authority) {
		return t, column, "name one authority of the configuration"
	}
	column += len(t.Authority) + 1
	for _, word := range strings.Split(fields[2], ",") {
		r := Right(word)
		if !slices.Contains(Rights(), r) || t.May(r) {
			return t, column, fmt.Sprintf("the rights are one or more of %v, separated by commas, each once", Rights())
		}
		t.Rights = append(t.Rights, r)
	}
	column += len(fields[2]) + 1
	if raw, err := hex.DecodeString(fields[3]); err != nil || len(raw) != len(t.sum) {
		return t, column, "the SHA-256 of the secret is 64 hexadecimal digits; the secret itself must not stand here"
	} else {
		copy(t.sum[:], raw)
	}
	return t, 0, ""
}

// All lists the tokens in the order of the file.
func (t *Tokens) All() []Token {
	var all []Token
	for _, s := range *t.stored.Load() {
		all = append(all, s.Token)
	}
	return all
}

// Check finds the token of a secret. It looks at every token and takes the same
// time whichever it is, or none.
func (t *Tokens) Check(secret string) (Token, bool) {
	known := len(secret) <= maxSecret
	sum := sha256.Sum256([]byte(secret[:min(len(secret), maxSecret)]))
	var found Token
	ok := 0
	for _, s := range *t.stored.Load() {
		if same := subtle.ConstantTimeCompare(sum[:], s.sum[:]); same == 1 {
			found, ok = s.Token, 1
		}
	}
	return found, known && ok == 1
}
