package legal

import (
	"slices"
	"time"

	"gatewayd/calendar"
	"gatewayd/message"
)

// Rules are the authority's choices where the law leaves one.
type Rules struct {
	Calendar       string           // canton whose holidays count where the directory names none
	Profile        calendar.Profile // the period that the authority usually needs
	RefusalServes  bool             // a refusal counts on its day, not on the seventh (docs/law.md § 14 no. 4)
	DeadlineNear   int              // days before the end of the period at which a person is told
	UnclaimedAfter int              // days after availability at which a person is told that nobody collected
	ReceiptWait    time.Duration    // after the hand-over, for the Abgabequittung
	ClosingWait    time.Duration    // after the hand-over, for a closing receipt
}

// DefaultRules are those of an authority of Basel-Landschaft.
func DefaultRules() Rules {
	return Rules{
		Calendar: calendar.BL, Profile: calendar.BLVwVG, DeadlineNear: 3, UnclaimedAfter: 5,
		ReceiptWait: 15 * time.Minute, ClosingWait: 8 * 24 * time.Hour,
	}
}

// Input is everything that a case rests on. Receipts and Events may be those of
// the whole message; what belongs to other items is left out. Events are in the
// order of the audit log.
type Input struct {
	Item     message.Item
	Receipts []message.Receipt
	Events   []message.Event
	Rules    Rules
	Now      time.Time
}

// proofs are the verified receipts that were known at an instant, by kind: the
// earliest of each by the platform's time.
type proofs map[message.ReceiptKind]message.Receipt

// proofsAt gathers them. A receipt that names other content than was sent
// proves nothing until a person has checked it.
func (in Input) proofsAt(at time.Time) proofs {
	p := proofs{}
	for _, r := range in.Receipts {
		if r.Item != in.Item.Key || r.Verdict != message.Verified || r.Received.After(at) || r.Mismatch != "" && !in.closed(TaskEvidence, at) {
			continue
		}
		if known, ok := p[r.Kind]; !ok || r.At.Before(known.At) || r.At.Equal(known.At) && r.ID.String() < known.ID.String() {
			p[r.Kind] = r
		}
	}
	return p
}

func (p proofs) has(kinds ...message.ReceiptKind) bool {
	return slices.ContainsFunc(kinds, func(k message.ReceiptKind) bool { _, ok := p[k]; return ok })
}

// submitted returns when the platform says that it took the item.
func (p proofs) submitted() (at time.Time, ok bool) {
	for _, k := range []message.ReceiptKind{message.Abgabequittung, message.ArchiveCopy} {
		if r, has := p[k]; has && (!ok || r.At.Before(at)) {
			at, ok = r.At, true
		}
	}
	return at, ok
}

// available returns when the addressee could first collect it: as the platform
// says (Bereitstellung), else when the other platform got it, else when the
// platform took it for the addressee. Platforms that do not say it offer the
// item at once.
func (p proofs) available() (at time.Time, ok bool) {
	if r, ok := p[message.Bereitstellung]; ok {
		return r.At, true
	}
	at, ok = p.submitted()
	if r, has := p[message.Weitergabe]; has && (!ok || r.At.After(at)) {
		return r.At, true
	}
	return at, ok
}

// mismatched reports whether the platform has receipted something else than was
// sent, and nobody has checked it yet.
func (in Input) mismatched(at time.Time) bool {
	return !in.closed(TaskEvidence, at) && slices.ContainsFunc(in.Receipts, func(r message.Receipt) bool {
		return r.Item == in.Item.Key && r.Verdict == message.Verified && r.Mismatch != "" && !r.Received.After(at)
	})
}

// closed reports whether a person had closed a task at an instant.
func (in Input) closed(code TaskCode, at time.Time) bool {
	return slices.ContainsFunc(in.Events, func(e message.Event) bool {
		return e.Item == in.Item.Key.N && e.Kind == message.EventTaskClosed && e.Data[KeyTask] == string(code) && !e.At.After(at)
	})
}

// reading is what a case amounts to at an instant.
type reading struct {
	state       State
	task        TaskCode // what a person must do; "" for nothing
	because     string
	service     Service
	expected    calendar.Day
	alternative *Service
}

func (in Input) read(at time.Time) reading {
	p := in.proofsAt(at)
	switch {
	case in.mismatched(at):
		return reading{state: EvidenceInvalid, task: TaskEvidence, because: "Die Plattform hat etwas anderes quittiert, als gesendet wurde.", service: Service{Basis: None}}
	case len(p) == 0 || !p.has(proving()...):
		return in.unproven(at)
	}
	who := addressee(in.Events, in.Item.Key.N, in.Rules.Calendar, at)
	r := reading{service: Service{Basis: None}}
	available, known := p.available()
	if known && who.Identified {
		r.expected = calendar.FictionDay(available)
	}
	over := !r.expected.IsZero() && !at.Before(r.expected.End())
	switch {
	case p.has(message.Abholquittung):
		in.collected(&r, p, who)
	case p.has(message.Annahmeverweigerung):
		in.refused(&r, p, who, known, over)
	case p.has(message.Verfallquittung):
		in.unclaimed(&r, who, known)
	case p.has(message.NoticeBlocked):
		r.state, r.task, r.because, r.expected = NotServed, TaskPost, "Die Adressatin nimmt keine eingeschriebenen Sendungen an.", calendar.Day{}
	case p.has(message.NoticeUndelivered):
		r.state, r.task, r.because, r.expected = NotServed, TaskPost, "Das System der Adressatin hat die Sendung abgewiesen.", calendar.Day{}
	case over:
		in.unclaimed(&r, who, known)
	case p.has(message.Weitergabe):
		r.state, r.because = Relayed, "Die andere Plattform hat die Sendung für die Adressatin."
	default:
		r.state, r.because = Available, "Die Sendung liegt für die Adressatin bereit."
	}
	return r
}

// proving are the kinds of receipts that say something about a delivery.
func proving() []message.ReceiptKind {
	return []message.ReceiptKind{
		message.Abgabequittung, message.ArchiveCopy, message.Bereitstellung, message.Weitergabe, message.Abholquittung,
		message.Annahmeverweigerung, message.Verfallquittung, message.NoticeBlocked, message.NoticeUndelivered,
	}
}

// unproven is the reading without any receipt: what the gateway itself knows.
func (in Input) unproven(at time.Time) reading {
	r := reading{service: Service{Basis: None}}
	switch s := in.Item.State; {
	case s == message.Held:
		r.state, r.because = Held, "Die Sendung ist angehalten."
	case s == message.Waiting:
		r.state, r.because = Queued, "Die Sendung wartet auf die Übergabe."
	case s == message.Sending:
		r.state, r.because = Submitting, "Die Übergabe läuft."
	case s == message.Unclear:
		r.state, r.because = Uncertain, "Ob die Plattform die Sendung hat, ist ungewiss; sie wird nicht von selbst noch einmal gesendet."
	case in.Item.HandedAt.IsZero():
		r.state, r.because = Returned, "Die Sendung hat keine Plattform erreicht."
	case at.Before(in.Item.HandedAt.Add(in.Rules.ReceiptWait)):
		r.state, r.because = Submitted, "Die Plattform hat die Sendung entgegengenommen; die Abgabequittung steht aus."
	default:
		r.state, r.because = ReceiptMissing, "Die Abgabequittung fehlt; die Sendung wird nicht noch einmal gesendet."
	}
	return r
}

const ruleDownload = "Zustellung mit dem Herunterladen (VeÜ-ZSSV Art. 11; VeÜ-VwV Art. 10)"

// collected: the moment of service is the download, unless the seventh day was
// over before: then it had counted as served already.
func (in Input) collected(r *reading, p proofs, who Addressee) {
	at := p[message.Abholquittung].At
	day := calendar.DayOf(at)
	if !r.expected.IsZero() && day.After(r.expected) && who.Expects == Yes {
		r.alternative = &Service{Date: day, Basis: Download, Rule: ruleDownload, At: at}
		in.fiction(r, "Erst nach dem siebten Tag abgeholt: die Sendung galt schon als zugestellt.")
		return
	}
	r.state, r.because = Served, "Die Adressatin hat die Sendung abgeholt."
	if !r.expected.IsZero() && day.After(r.expected) && who.Expects == Unknown {
		r.alternative = &Service{Date: r.expected, Basis: Fiction, Rule: ruleFiction + ", wenn die Partei mit der Zustellung rechnen musste"}
	}
	r.expected = calendar.Day{}
	r.service = Service{Date: day, Basis: Download, Rule: ruleDownload, At: at}
}

const ruleFiction = "Zustellfiktion am siebten Tag, ohne Verschiebung (ZPO Art. 138 Abs. 3 lit. a; VwVG Art. 20 Abs. 2bis)"

func (in Input) fiction(r *reading, because string) {
	r.state, r.because = ServedByFiction, because
	r.service = Service{Date: r.expected, Basis: Fiction, Rule: ruleFiction}
}

// refused: the law does not settle what an electronic refusal does; the seventh
// day is the later reading, kinder to the party (docs/law.md § 14 no. 4). Both
// are shown.
func (in Input) refused(r *reading, p proofs, who Addressee, known, over bool) {
	at := p[message.Annahmeverweigerung].At
	onTheDay := Service{Date: calendar.DayOf(at), Basis: Refusal, Rule: "Zustellung am Tag der Verweigerung (ZPO Art. 138 Abs. 3 lit. b, sinngemäss; umstritten)", At: at}
	switch {
	case !who.Identified:
		r.state, r.task, r.because = NotServed, TaskPost, "Verweigert, und das Postfach ist nicht identifiziert: keine Fiktion."
	case in.Rules.RefusalServes:
		r.state, r.because, r.service = Served, "Die Adressatin hat die Annahme verweigert.", onTheDay
		if known {
			r.alternative = &Service{Date: r.expected, Basis: Fiction, Rule: ruleFiction}
		}
		r.expected = calendar.Day{}
	default:
		r.alternative = &onTheDay
		if known && !over {
			r.state, r.because = RefusedWait, "Die Annahme wurde verweigert; der siebte Tag ist noch nicht vorbei."
			return
		}
		in.byFiction(r, who, known, "Verweigert; der siebte Tag ist vorbei.")
	}
}

// unclaimed: not collected within seven days.
func (in Input) unclaimed(r *reading, who Addressee, known bool) {
	if !who.Identified {
		r.state, r.task, r.because = NotServed, TaskPost, "Nicht abgeholt, und das Postfach ist nicht identifiziert: keine Fiktion."
		return
	}
	in.byFiction(r, who, known, "Nicht abgeholt innert sieben Tagen.")
}

// byFiction asks for everything that the fiction needs.
func (in Input) byFiction(r *reading, who Addressee, known bool, because string) {
	switch {
	case !known:
		r.state, r.task, r.because = Undecided, TaskReceipt, because+" Wann die Sendung bereitlag, ist nicht belegt: die Abgabequittung fehlt."
	case who.Expects == Yes:
		in.fiction(r, because)
	case who.Expects == No:
		r.state, r.task, r.because, r.expected = NotServed, TaskPost, because+" Die Partei musste nicht mit einer Zustellung rechnen: keine Fiktion.", calendar.Day{}
	default:
		r.state, r.task, r.because = Undecided, TaskExpect, because+" Ob die Partei mit einer Zustellung rechnen musste, hat noch niemand gesagt."
	}
}
