package bounce

import (
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	tests := []struct {
		text   string
		reply  int
		status string
	}{
		{"550 5.1.1 user unknown", 550, "5.1.1"},
		{"550-5.1.1 user unknown", 550, "5.1.1"},
		{"550 550 5.2.2 full", 550, "5.2.2"},
		{"said: 550 [5.4.14] loop", 550, "5.4.14"},
		{"Sorry, no mailbox here. (#5.1.1)", 0, "5.1.1"},
		{"try later [#4.1.9].", 0, "4.1.9"},
		{"host mx[192.0.2.1] said: 451 later", 451, ""},
		{"host mx[192.0.2.1] said:\n    451 later", 451, ""},
		{"<<< 553 no", 553, ""},
		{"responded with failure: 552 sorry (#5.1.1)", 552, "5.1.1"},
		{"ERROR_CODE :550, ERROR_CODE :5.1.1", 550, "5.1.1"},
		{"250 2.1.0 Ok\n250 2.1.5 Ok\n451 4.3.0 queue file write error", 451, "4.3.0"},
		{"250 2.6.0 received", 250, "2.6.0"},
		{"Out: 220 mx ready\nOut: 354 end data", 0, ""},
		{"554 relay 4.4.7 expired", 0, "4.4.7"},
		{"version 5.1.1.2 at 4.5.6.7", 0, ""},
		{"192.0.2.5 is up since 500 days", 0, ""},
		{"call 044 550 11 22", 0, ""},
		{"599 is no reply", 0, ""},
		{"", 0, ""},
	}
	for _, tt := range tests {
		reply, status := codes(tt.text)
		if reply != tt.reply || status != tt.status {
			t.Errorf("%q: %d %q, want %d %q", tt.text, reply, status, tt.reply, tt.status)
		}
	}
}

func TestReasons(t *testing.T) {
	tests := []struct {
		said, status string
		reply        int
		want         Reason
	}{
		{"User unknown", "", 0, UserUnknown},
		{"mailbox\n  is\tfull", "", 0, MailboxFull},
		{"whatever", "5.2.2", 0, MailboxFull},
		{"whatever", "5.7.1", 0, Policy},
		{"rejected: SPF fail", "5.7.1", 550, AuthFailure},
		{"Relaying denied", "5.7.1", 550, Relaying},
		{"Der Empfänger ist unbekannt", "", 0, UserUnknown},
		{"Le destinataire est inconnu", "", 0, UserUnknown},
		{"Das Postfach ist voll. Postfach voll", "", 0, MailboxFull},
		{"boîte pleine", "", 0, MailboxFull},
		{"casella piena", "", 0, MailboxFull},
		{"ящик переполнен", "", 0, MailboxFull},
		{"宛先不明", "", 0, UserUnknown},
		{"message too large", "", 0, TooLarge},
		{"too many hops", "5.4.6", 554, Network},
		{"too many connections", "", 421, RateLimited},
		{"connection refused", "", 0, Network},
		{"listed at spamhaus as dnsbl", "", 554, Blocked},
		{"retry timeout exceeded", "", 0, Expired},
		{"Null MX", "5.1.10", 556, NoMailService},
		{"Host or domain name not found", "5.4.4", 0, HostUnknown},
		{"syntax error", "", 501, Protocol},
		{"", "", 552, MailboxFull},
		{"", "", 550, UserUnknown},
		{"", "", 451, System},
		{"", "", 503, Protocol},
		{"", "5.9.9", 0, Undefined},
		{"", "", 0, Undefined},
	}
	for _, tt := range tests {
		if got := reasonOf(tt.said, tt.status, tt.reply); got != tt.want {
			t.Errorf("%q %s %d: %s, want %s", tt.said, tt.status, tt.reply, got, tt.want)
		}
	}
}

// What the reporter wrote ends where the returned message begins.
func TestCutOriginal(t *testing.T) {
	const head = "Received: from a by b; x\nFrom: a@b.ch\nTo: c@d.ch\n\nbody\n"
	for _, line := range []string{
		"--- Below this line is a copy of the message.",
		"------ This is a copy of the message, including all the headers. ------",
		"--- The header of the original message is following. ---",
		"----- Original message -----",
		"Original message follows.",
		"--- Original message follows.",
		"   ----- Unsent message follows -----",
		"    Below is a copy of the original message:",
		"------- Returned Message --------",
		"-------original message",
		"-------original mail info",
		"Original message headers follow.",
		"---------------------------------------------------",
		"",
	} {
		said, rest := cutOriginal("It failed.\n\n" + line + "\n\n" + head)
		if strings.Contains(said, "Received") || !strings.Contains(said, "It failed.") || !strings.Contains(rest, "From: a@b.ch") {
			t.Errorf("%q: said %q, rest %q", line, said, rest)
		}
	}
	for _, text := range []string{"", "It failed.", "Your message could not be delivered.\nThe original message was large.\n", "Subject: x\nTo: y\n\nIt failed."} {
		if said, rest := cutOriginal(text); said != text || rest != "" {
			t.Errorf("%q: cut to %q", text, said)
		}
	}
}

func TestStripTags(t *testing.T) {
	got := stripTags(`<html><style>p{}</style><p>a &lt;x@y.ch&gt;<br>b</p><a href="z">c</a><x@y.ch></html>`)
	if want := "\na <x@y.ch>\nb\nc<x@y.ch>"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSaysDelayed(t *testing.T) {
	tests := []struct {
		subject, text string
		want          bool
	}{
		{"Warning: message delayed 24 hours", "has not yet been delivered", true},
		{"Delivery status notification: delayed", "Your message is delayed", true},
		{"Returned mail", "You do not need to resend your message", true},
		{"Warning: could not send message for past 4 hours", "Deferred: timed out", true},
		{"Warning--Could not send mail for past 8.5 hours", "had delivery errors", true},
		{"Returned mail", "The following addresses had transient non-fatal errors", true},
		{"Zustellung verzögert: Brief", "Verzögerung bei der Zustellung", true},
		{"Remise retardée", "La remise est retardée", true},
		{"Verzögerung", "Es wird weiter versucht", true},
		{"failure notice", "I'm not going to try again; this message has been in the queue too long. The message will be retried", false},
		{"Undelivered Mail", "could not be delivered", false},
	}
	for _, tt := range tests {
		if got := saysDelayed(tt.subject, tt.text); got != tt.want {
			t.Errorf("%q %q: %v", tt.subject, tt.text, got)
		}
	}
}
