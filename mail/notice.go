package mail

import "gatewayd/message"

// Topic says what a notice is about; it brings the standing sentences.
type Topic string

// The topics of notices to a sender.
const (
	TopicHeld     Topic = "held"     // a message waits for a person, a key or a platform
	TopicReturned Topic = "returned" // a held message ends: it was not sent
	TopicOverdue  Topic = "overdue"  // the platform's Abgabequittung is missing
	TopicUnclear  Topic = "unclear"  // nobody knows yet whether the platform has it
	TopicForged   Topic = "forged"   // a receipt came whose seal is broken
	TopicUnfiled  Topic = "unfiled"  // an authority has not filed messages whose content ends soon
	TopicMalware  Topic = "malware"  // mail that came in is held: the scanner found something, or could not look
	TopicExpired  Topic = "expired"  // the message was erased at the end of its window
)

// Notice is a short letter to a sender about one recipient of a message.
type Notice struct {
	Letter
	Topic     Topic
	Recipient message.Address // may be zero
	Reference string          // "BL-7F3K9Q2M"; may be ""
	Cause     Text            // why; what is empty is left out
	Next      Text            // what the sender can do; zero: the topic's standing advice
}

// ComposeNotice writes a notice: plain text, German first, then English, with
// cause and next step, marked as automatic (RFC 3834). It never quotes the
// message it is about, neither body nor subject. It must be sent with the null
// reverse-path or not at all.
func ComposeNotice(n Notice) ([]byte, error) {
	standing := n.Topic.texts()
	h, err := n.head(standing.subject, "auto-generated")
	if err != nil {
		return nil, err
	}
	next := n.Next
	if next.IsZero() {
		next = standing.next
	}
	for _, f := range [][2]string{
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		if err := h.Replace(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	text := paragraphs(standing.what.DE, n.facts("Empfänger", "Referenz", "Kennung"), label("Grund: ", n.Cause.DE), label("Nächster Schritt: ", next.DE)) +
		separator +
		paragraphs(standing.what.EN, n.facts("Recipient", "Reference", "Id"), label("Cause: ", n.Cause.EN), label("Next step: ", next.EN))
	return append(h.Bytes(), quotedPrintable(text)...), nil
}

// facts names recipient, reference and id on one line.
func (n Notice) facts(recipient, reference, id string) string {
	line := label(recipient+": ", n.Recipient.String())
	for _, f := range []string{label(reference+": ", n.Reference), label(id+": ", idText(n.About))} {
		if line != "" && f != "" {
			line += "; "
		}
		line += f
	}
	return line
}

func label(name, text string) string {
	if text == "" {
		return ""
	}
	return name + text
}

type standing struct{ subject, what, next Text }

// texts returns the standing sentences of a topic.
func (t Topic) texts() standing {
	switch t {
	case TopicReturned:
		return standing{
			Text{"Nicht gesendet", "Not sent"},
			Text{"Ihre zurückgehaltene Nachricht wurde nicht gesendet und wird nicht mehr gesendet.", "Your held message was not sent and will not be sent any more."},
			Text{"Beheben Sie den Grund und senden Sie die Nachricht neu.", "Remove the cause and send the message again."},
		}
	case TopicOverdue:
		return standing{
			Text{"Abgabequittung fehlt", "Submission receipt missing"},
			Text{"Zu Ihrer eingeschriebenen Nachricht ist noch keine Abgabequittung der Plattform eingetroffen.", "The platform's submission receipt (Abgabequittung) for your registered message has not come yet."},
			Text{"Senden Sie die Nachricht nicht noch einmal: sie könnte schon zugestellt sein. Wir warten weiter; fragen Sie bei Fristsachen die Plattform.", "Do not send the message again: it may have been delivered. We keep waiting; if a deadline is at stake, ask the platform."},
		}
	case TopicUnclear:
		return standing{
			Text{"Übergabe unklar", "Hand-over unclear"},
			Text{"Die Verbindung brach bei der Übergabe an die Plattform ab. Ob sie die Nachricht hat, ist noch nicht bekannt.", "The connection broke while the message was handed to the platform. Whether the platform has it is not known yet."},
			Text{"Senden Sie die Nachricht nicht noch einmal, bevor ein Mensch entschieden hat.", "Do not send the message again before a person has decided."},
		}
	case TopicForged:
		return standing{
			Text{"Quittung ungültig", "Receipt not valid"},
			Text{"Zu Ihrer Nachricht kam eine Quittung, deren Siegel nicht stimmt. Sie wurde aufbewahrt, zählt aber nicht.", "A receipt for your message came whose seal is broken. It was kept but does not count."},
			Text{"Verlassen Sie sich nicht auf diese Quittung; die Verwaltung des Mailsystems klärt den Fall.", "Do not rely on this receipt; the administrators of the mail system look into it."},
		}
	case TopicUnfiled:
		return standing{
			Text{"Übernahme in Ihre Ablage fehlt", "Not taken over by your file yet"},
			Text{"Der Inhalt dieser Nachrichten endet bald, und niemand hat bestätigt, dass Ihre Ablage (GEVER) sie und ihre Quittungen hat.", "The content of these messages ends soon, and nobody has confirmed that your file (GEVER) has them and their receipts."},
			Text{"Übernehmen Sie die Nachrichten in Ihre Ablage und bestätigen Sie das in der Fachanwendung oder bei der Verwaltung des Mailsystems (gatewayd handover confirm).", "Take the messages over into your file and confirm it, by your application or through the administrators of the mail system (gatewayd handover confirm)."},
		}
	case TopicMalware:
		return standing{
			Text{"Eingegangene Nachricht zurückgehalten", "Incoming message held"},
			Text{"Eine Nachricht an Sie wird zurückgehalten. Niemand kann sie lesen, und der Absender erfährt nichts davon.", "A message to you is held. Nobody can read it, and its sender is not told."},
			Text{"Fragen Sie die Verwaltung des Mailsystems, wenn Sie die Nachricht erwarten. Ohne Entscheid wird sie nach Ablauf der Frist verworfen.", "Ask the administrators of the mail system if you expect the message. Without a decision it is discarded after its limit."},
		}
	case TopicExpired:
		return standing{
			Text{"Aufbewahrungsfrist abgelaufen", "Retention period ended"},
			Text{"Ihre Nachricht konnte bis zum Ende der Aufbewahrungsfrist nicht abgeschlossen werden und wurde gelöscht.", "Your message could not be completed before the end of its retention period and was erased."},
			Text{"Prüfen Sie den Vorgang und senden Sie die Nachricht wenn nötig neu.", "Check the matter and send the message again if needed."},
		}
	}
	return standing{ // TopicHeld
		Text{"Nachricht zurückgehalten", "Message held"},
		Text{"Ihre Nachricht wird zurückgehalten. Sie ist sicher gespeichert und wurde nicht gesendet.", "Your message is held. It is stored safely and was not sent."},
		Text{"Beheben Sie den Grund oder wenden Sie sich an die Verwaltung des Mailsystems. Ohne Entscheid kommt die Nachricht nach Ablauf der Frist zurück.", "Remove the cause or ask the administrators of the mail system. Without a decision the message is returned after its limit."},
	}
}

func idText(id message.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
