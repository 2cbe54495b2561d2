package bounce_test

import (
	"fmt"
	"strings"
	"testing"

	"gatewayd/mail/bounce"
	"gatewayd/mail/parts"
)

const returned = "Received: from a.example by b.example; Thu, 29 Apr 2010 23:34:45 +0900\nFrom: sender@s.example\nTo: x@r.example\nSubject: Letter\nMessage-ID: <1@s.example>\n\nHello\n"

// read reads a message written with line feeds; its original sender is
// sender@s.example.
func read(t *testing.T, msg string) (bounce.Report, bool) {
	t.Helper()
	r := strings.NewReader(msg)
	sections, err := parts.Sections(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	return bounce.Read(sections)
}

func tell(rep bounce.Report) string {
	var b []string
	for _, r := range rep.Recipients {
		b = append(b, fmt.Sprintf("%s %s %s %d %s", r.Address, r.Action, r.Status, r.Reply, r.Reason))
	}
	return strings.Join(b, "; ")
}

// Free texts as mail systems write them, each in its own form.
func TestFamilies(t *testing.T) {
	tests := []struct{ name, from, subject, body, want string }{
		{"qmail", "MAILER-DAEMON@q.example", "failure notice", `Hi. This is the qmail-send program at q.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<x@r.example>:
192.0.2.1 does not like recipient.
Remote host said: 550 5.1.1 <x@r.example>... User Unknown
Giving up on 192.0.2.1.

<y@r.example>:
Connected to 192.0.2.1 but greeting failed.
Remote host said: 421 4.7.0 busy
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.

` + returned, "x@r.example failed 5.1.1 550 user_unknown; y@r.example failed 4.7.0 421 expired"},
		{"exim", "Mail Delivery System <Mailer-Daemon@e.example>", "Warning: message 1abc delayed 24 hours", `This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on e.example.

The address to which the message has not yet been delivered is:

  x@r.example
    Delay reason: connection timed out

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals.
`, "x@r.example delayed 4.0.0 0 network"},
		{"exim to a third party", "Mail Delivery System <Mailer-Daemon@e.example>", "Mail delivery failed", `This message was created automatically by mail delivery software.

A message sent by

  <list-bounces@l.example>

could not be delivered to one or more of its recipients. The following
address(es) failed:

  x@r.example
    (ultimately generated from y@r.example)
    all hosts have been failing for a long time and were last tried after this message arrived

------ This is a copy of the message, including all the headers. ------

` + returned, "x@r.example failed 4.0.0 0 undefined"},
		{"exchange 2003", "System Administrator <postmaster@x.example>", "Undeliverable: Letter", `Your message

  To:      x@r.example
  Subject: Letter
  Sent:    Thu, 29 Apr 2010 18:14:35 +0000

did not reach the following recipient(s):

x@r.example on Thu, 29 Apr 2010 18:14:35 +0000
    The recipient name is not recognized
	The MTS-ID of the original message is: c=jp;a= ;p=neko
    MSEXCH:IMS:KIJITORA CAT:EXAMPLE:EXCHANGE 3550 (000B09AA) Unknown Recipient
`, "x@r.example failed 5.0.0 0 user_unknown"},
		{"gmail old", "Mail Delivery Subsystem <mailer-daemon@googlemail.com>", "Delivery Status Notification (Failure)", `This is an automatically generated Delivery Status Notification

Delivery to the following recipient failed permanently:

     x@r.example

Technical details of permanent failure:
Google tried to deliver your message, but it was rejected by the recipient domain. We recommend contacting the other email provider for further information about the cause of this error. The error that the other server returned was: 550 550 5.2.2 <x@r.example>... Mailbox Full (state 14).

----- Original message -----

` + returned, "x@r.example failed 5.2.2 550 mailbox_full"},
		{"messaging server", "Internet Mail Delivery <postmaster@m.example>", "Delivery Notification: Delivery has failed", `This report relates to a message you sent with the following header fields:

  Message-id: <CD8C6134-C312-41D5-B083-366F7FA1D752@me.example>
  Date: Thu, 29 Apr 2014 23:34:45 +0900
  From: Sender <sender@s.example>
  To: x@r.example
  Subject: Letter

Your message cannot be delivered to the following recipients:

  Recipient address: x@r.example
  Reason: Remote SMTP server has rejected address
  Diagnostic code: smtp;550 5.1.1 <x@r.example>... User Unknown
  Remote system: dns;mx.r.example (TCP|17.111.174.67|47323|192.0.2.225|25) (6jo.r.example ESMTP SENDMAIL-VM)
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"sendmail 5", "Mail Delivery Subsystem <MAILER-DAEMON@v.example>", "Returned mail: User unknown", `   ----- Transcript of session follows -----
While talking to mx.r.example:
>>> RCPT To:<x@r.example>
<<< 550 <x@r.example>, User unknown
550 <x@r.example>... User unknown

   ----- Unsent message follows -----
` + returned, "x@r.example failed 5.0.0 550 user_unknown"},
		{"sendmail 8", "Mail Delivery Subsystem <MAILER-DAEMON@v.example>", "Returned mail: see transcript for details", `The original message was received at Thu, 29 Apr 2010 23:34:45 +0900
from a.example [192.0.2.1]

   ----- The following addresses had permanent fatal errors -----
<x@r.example>
    (reason: 552 5.2.3 Message size exceeds fixed maximum message size (10485760))
"|/usr/bin/procmail"
    (expanded from: <y@r.example>)

   ----- Transcript of session follows -----
... while talking to mx.r.example.:
>>> MAIL From:<sender@s.example> SIZE=16600348
<<< 552 5.2.3 Message size exceeds fixed maximum message size (10485760)
554 5.0.0 Service unavailable
`, "x@r.example failed 5.2.3 552 too_large"},
		{"x6", "MAILER-DAEMON@x6.example", "There was an error sending your mail", `We had trouble delivering your message. Full details follow:

Subject: 'Letter'
Date: 'Thu, 29 Apr 2012 23:34:45 +0000'

1 error(s):

SMTP Server <mx.r.example> rejected recipient <x@r.example> (Error following RCPT command). It responded as follows: [550 5.1.1 User unknown]`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"zoho", "mailer-daemon@mail.z.example", "Undelivered Mail Returned to Sender", `This message was created automatically by mail delivery software.
 A message that you sent could not be delivered to one or more of its recipients. This is a permanent error.

x@r.example Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 <x@r.example>... User Unknown
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"mail marshal", "postmaster@mm.example", "Undeliverable Mail: \"Letter\"", `Your message:
   From:    sender@s.example
   Subject: Letter

Could not be delivered because of

550 5.1.1 User unknown

The following recipients were affected:
    x@r.example
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"surfcontrol", "Administrator <postmaster@sc.example>", "DELIVERY FAILURE: Letter", `Your message could not be sent.
A transcript of the attempts to send the message follows.
The number of attempts made: 1
Addressed To: x@r.example

Thu 29 Apr 2010 23:34:45 +0900
Failed to send to identified host,
x@r.example: [192.0.2.5], 550 x@r.example... No such user

--- Message non-deliverable.
`, "x@r.example failed 5.0.0 550 user_unknown"},
		{"dragonfly", "MAILER-DAEMON <>", "Mail delivery failed", `This is the DragonFly Mail Agent v0.13 at df.example.

There was an error delivering your mail to <x@r.example>.

mx.r.example [192.0.2.25] did not like our RCPT TO:
550 5.7.1 Recipient refused

Original message headers follow.

` + returned, "x@r.example failed 5.7.1 550 policy"},
		{"courier", "\"Courier mail server at c.example\" <@>", "NOTICE: mail delivery status.", `This is a delivery status notification from c.example,
running the Courier mail server, version 0.65.2.

The original message was received on Sat, 11 Dec 2010 12:19:57 +0900
from [127.0.0.1]

---------------------------------------------------------------------------

                           UNDELIVERABLE MAIL

Your message to the following recipients cannot be delivered:

<x@r.example>:
    mx.r.example [74.207.247.95]:
>>> RCPT TO:<x@r.example>
<<< 550 5.1.1 <x@r.example>... User Unknown

---------------------------------------------------------------------------
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"domino", "postmaster@d.example", "DELIVERY FAILURE: User x (x@r.example) not listed in Domino Directory", `Your message

  Subject: Letter

was not delivered to:

  x@r.example

because:

  User x (x@r.example) not listed in Domino Directory
`, "x@r.example failed 5.0.0 0 user_unknown"},
		{"1&1", "Mail Delivery System <mailer-daemon@kundenserver.example>", "Mail delivery failed: returning message to sender", `This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of
its recipients. The following addresses failed:

<x@r.example>

For the following reason:

Mail size limit exceeded. For explanation visit
http://postmaster.example/en/errors?ip=%1s

--- The header of the original message is following. ---

` + returned, "x@r.example failed 5.0.0 0 too_large"},
		{"amavis", "Content-filter at a.example <postmaster@a.example>", "Undeliverable mail, MTA-BLOCKED", `INVALID HEADER / Your message was not delivered to:
The message WAS NOT relayed to:
<x@r.example>:
   550 5.1.1 id=1234-05 - Rejected by next-hop MTA on relaying, from MTA(smtp:[127.0.0.1]:10025): 550 5.1.1 <x@r.example>: Recipient address rejected: User unknown
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"postfix old", "MAILER-DAEMON@p.example (Mail Delivery System)", "Undelivered Mail Returned to Sender", `This is the Postfix program at host p.example.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to <postmaster>

			The Postfix program

<x@r.example>: host mx.r.example[192.0.2.1] said: 450 4.2.1 The user you are
    trying to contact is receiving mail too quickly (in reply to RCPT TO
    command)

<y@r.example> (expanded from <z@p.example>): Host or domain name not found. Name service error
    for name=r.example type=A: Host not found
`, "x@r.example failed 4.2.1 450 rate_limited; y@r.example failed 5.0.0 0 host_unknown"},
		{"kddi", "<>", "Mail System Error - Returned Mail", `Could not be delivered to: <x@r.example>
As their mailbox is full.

` + returned, "x@r.example failed 5.0.0 0 mailbox_full"},
		{"mms", "postmaster@v.example", "Undeliverable Message", `Message could not be delivered to mobile.
Error: No valid recipients for this MM

RECIPIENT/ToAddress: 0000000000@r.example
`, "0000000000@r.example failed 5.0.0 0 user_unknown"},
		{"x.400", "postmaster@gw.example", "Non-delivery report: Letter", `The message could not be delivered to the following recipients:

Recipient: "C=CH; A=400NET; P=AG; S=Muster; G=Hans" <x@r.example>
Reason: unable-to-transfer
Diagnostic: unrecognised-OR-name
`, "x@r.example failed 5.0.0 0 user_unknown"},
		{"german", "Mail Delivery System <MAILER-DAEMON@g.example>", "Unzustellbar: Brief", `Ihre Nachricht konnte folgenden Empfängern nicht zugestellt werden:

x@r.example
Der Empfänger ist unbekannt.
`, "x@r.example failed 5.0.0 0 user_unknown"},
		{"french", "Administrateur <postmaster@f.example>", "Non remis : Lettre", `Votre message n'a pas pu être remis aux destinataires suivants :

x@r.example
L'adresse n'existe pas. #550 5.1.1 RESOLVER.ADR.RecipNotFound
`, "x@r.example failed 5.1.1 550 user_unknown"},
		{"yahoo", "MAILER-DAEMON@y.example", "Failure Notice", `Sorry, we were unable to deliver your message to the following address.

<x@r.example>:
554: 5.4.4 [internal] Domain Lookup Failed

--- Below this line is a copy of the message.

` + returned, "x@r.example failed 5.4.4 554 host_unknown"},
		{"mcafee", "MAILER-DAEMON@mc.example", "Returned mail", `The original message was received at Thu, 29 Apr 2010 23:34:45 +0900

--- The following addresses had delivery errors ---

x@r.example   (User unknown <x@r.example>)

--- End of report ---
`, "x@r.example failed 5.0.0 0 user_unknown"},
		{"html", "postmaster@h.example", "Undeliverable: Letter", `<html><body><p><b>Delivery has failed to these recipients or groups:</b></p><p><a href="mailto:x@r.example">x@r.example</a><br>The email address you entered couldn't be found.</p><p>Remote Server returned '550 5.1.1 RESOLVER.ADR.RecipNotFound; not found'</p></body></html>`, "x@r.example failed 5.1.1 550 user_unknown"},
	}
	for _, tt := range tests {
		typ := "text/plain; charset=utf-8"
		if tt.name == "html" {
			typ = "text/html; charset=utf-8"
		}
		msg := fmt.Sprintf("From: %s\nTo: sender@s.example\nSubject: %s\nContent-Type: %s\n\n%s", tt.from, tt.subject, typ, tt.body)
		rep, ok := read(t, msg)
		if got := tell(rep); !ok || got != tt.want {
			t.Errorf("%s:\ngot  %v %s\nwant %s", tt.name, ok, got, tt.want)
		}
	}
}

// The address that the sender wrote, where another one failed.
func TestMadeFrom(t *testing.T) {
	for text, want := range map[string]string{
		"  x@r.example\n    (generated from y@r.example)\n    no such user\n": "y@r.example",
		"<x@r.example> (expanded from\n    <y@r.example>): unknown user\n":    "y@r.example",
		"<x@r.example> (expanded from <y@r.example>): unknown user\n":         "y@r.example",
		"<x@r.example>: unknown user (expanded from <root>)\n":                "",
		"<x@r.example>: unknown user\n":                                       "",
	} {
		rep, ok := read(t, "From: MAILER-DAEMON@x.example\nSubject: Mail delivery failed\n\ncould not be delivered:\n\n"+text)
		if !ok || rep.Recipients[0].Address.String() != "x@r.example" || rep.Recipients[0].Original.String() != want {
			t.Errorf("%q: %v %+v, want %q", text, ok, rep.Recipients, want)
		}
	}
}
