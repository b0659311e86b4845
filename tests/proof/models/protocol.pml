/* A dose on its way from the intent to the body, over a link that fails and past hosts that die.

   The host records an intent, sends the command once, and waits for the reply or for silence. It
   may die between any two steps and starts again with its journal only, on a new connection. After
   a start and after silence it opens a new session and asks what became of each unsettled id.
   The device keeps the ids that it carried out over its own resets, but not its session. The link
   loses requests and replies, duplicates replies, and may hand over what is left in an old
   connection whenever it likes. Time passes in ticks; the host's clock may lag, never lead.

   The claims are the asserts: never over (in a window of the body), never under-counted (command by
   command, not a sum), at most once for an id.

   Four words widen the world or mend the protocol: DUPLICATES_COMMANDS and DUPLICATES_OPENS let the
   link duplicate requests too; ASKS_AFTER_REFUSAL takes a refusal for no proof that nothing
   happened; UNKNOWN_IS_FINAL lets a device refuse an id for ever that it has once called unknown.
   COMES_TO_THE_END claims that the last dose is never given, which must be wrong. All other words
   after #ifdef are planted bugs; method_model.py says which is which. */

#ifndef IDS
#define IDS 2
#endif
#ifndef LIMIT
#define LIMIT 1 /* doses in a window */
#endif
#ifndef WINDOW
#define WINDOW 2 /* ticks */
#endif
#ifndef SESSIONS
#define SESSIONS 3
#endif

mtype = { OPEN, GIVE, ASK, OPENED, DONE, KNOWN, UNKNOWN, REFUSED, NEW, UNSETTLED, SETTLED };

chan to_device[2] = [2] of { mtype, byte, byte }; /* kind, id, session; one for each connection */
chan to_host = [2] of { mtype, byte, byte };

/* The body: the only truth. */
bit delivered[IDS];
byte in_body[IDS]; /* ticks for which a dose still lies in the window that ends now */

/* The journal: outlives the host. */
mtype intent[IDS] = NEW;
bit counted[IDS]; /* it may have been delivered, as far as the journal knows */
byte held[IDS];   /* ticks for which it counts against the limit; frozen while unsettled */
byte next_id = 0;

/* The device. Ids are kept over a reset, the session is not. */
bit known[IDS];
bit fenced[IDS];
byte device_session = 0;

/* The host, in this life. */
byte sessions = 0; /* numbers are drawn at random: never one twice */
byte session = 0;
bit connection = 0;

inline count_doses_in_body() {
    total = 0;
    for (i : 0 .. IDS - 1) {
        total = total + (in_body[i] > 0)
    }
    i = 0
}

inline count_doses_held() {
    total = 0;
    for (i : 0 .. IDS - 1) {
        total = total + (held[i] > 0)
    }
    i = 0
}

/* --- what the link does ----------------------------------------------------------------- */

inline send(kind, id) {
    if
    :: to_device[connection]!kind(id, session)
    :: skip /* lost */
#ifdef DUPLICATES_COMMANDS
    :: kind != OPEN -> to_device[connection]!kind(id, session); to_device[connection]!kind(id, session)
#endif
#ifdef DUPLICATES_OPENS
    :: kind == OPEN -> to_device[connection]!kind(id, session); to_device[connection]!kind(id, session)
#endif
    fi
}

inline answer(kind) {
    if
    :: nfull(to_host) -> to_host!kind(id, its_session)
    :: len(to_host) == 0 -> to_host!kind(id, its_session); to_host!kind(id, its_session)
    :: skip /* lost */
    fi
}

/* --- the device --------------------------------------------------------------------------- */

inline deliver() {
    assert(delivered[id] == 0); /* at most once */
    delivered[id] = 1;
    assert(counted[id] == 1); /* never under-counted */
    in_body[id] = WINDOW;
    count_doses_in_body();
    assert(total <= LIMIT); /* never over */
    total = 0;
#ifdef COMES_TO_THE_END
    assert(id < IDS - 1);
#endif
}

inline carry_out() {
    if
#ifndef IGNORES_SESSIONS
    :: its_session != device_session -> answer(REFUSED)
    :: its_session == device_session && fenced[id] -> answer(REFUSED)
#endif
#ifdef FORGETS_IDS
    :: else -> deliver(); answer(DONE)
#elif defined(REMEMBERS_TOO_LATE)
    :: known[id] -> answer(DONE)
    :: else ->
        deliver();
        if
        :: known[id] = 1; answer(DONE)
        :: device_session = 0 /* a reset before it is stored */
        fi
#else
    :: its_session == device_session && !fenced[id] && known[id] -> answer(DONE)
    :: else ->
        known[id] = 1;
        if
        :: deliver(); answer(DONE)
        :: device_session = 0 /* a reset before the effect: it never comes */
        fi
#endif
    fi
}

active proctype Device() {
    byte id, its_session, i, total;
    mtype kind;
    do
    :: atomic {
        if
        :: to_device[0]?kind(id, its_session)
        :: to_device[1]?kind(id, its_session)
        fi;
        if
        :: kind == OPEN -> device_session = its_session; answer(OPENED)
        :: kind == GIVE -> carry_out()
        :: kind == ASK && its_session != device_session -> skip
        :: kind == ASK && its_session == device_session && known[id] -> answer(KNOWN)
        :: kind == ASK && its_session == device_session && !known[id] ->
#ifdef UNKNOWN_IS_FINAL
            fenced[id] = 1;
#endif
            answer(UNKNOWN)
        fi;
        kind = 0; id = 0; its_session = 0
    }
    :: atomic { device_session != 0 -> device_session = 0 } /* a reset */
    od
}

/* --- the host ------------------------------------------------------------------------------- */

inline record() {
    intent[id] = UNSETTLED;
    counted[id] = 1;
#ifndef COUNTS_AT_SUCCESS
    held[id] = WINDOW;
#endif
}

inline settle(happened) {
    intent[id] = SETTLED;
    if
    :: happened ->
#ifndef AGES_FROM_INTENT
        held[id] = WINDOW
#else
        skip
#endif
    :: else ->
        assert(delivered[id] == 0); /* never under-counted: what was given is never struck out */
        counted[id] = 0;
        held[id] = 0
    fi
}

#ifdef ANY_REPLY
#define IS_MINE true
#else
#define IS_MINE (its_session == session && about == id)
#endif

active proctype Host() {
    byte id, about, its_session, i, total;
    mtype kind;
#ifdef RESENDS
    bool resent;
#endif

start: /* all that is left of the last life is its journal, and what it had sent */
    atomic {
        connection = 1 - connection;
        session = 0; id = 0
    };
#ifdef VOIDS_ON_RESTART
    atomic {
        do
        :: id < IDS && intent[id] == UNSETTLED -> settle(false); id++
        :: id < IDS && intent[id] != UNSETTLED -> id++
        :: id == IDS -> id = 0; break
        od
    };
#endif

open: /* also after silence: what was sent in the session before cannot act any more */
    atomic {
        id = 0;
        if
        :: sessions < SESSIONS -> sessions++
        :: else -> goto gone /* only to keep the search finite */
        fi;
#ifdef KEEPS_ITS_SESSION
        session = 1;
#else
        session = sessions;
#endif
        send(OPEN, 0)
    };
    do
    :: atomic { to_host?kind(about, its_session) ->
        if
        :: kind == OPENED && IS_MINE -> break
        :: else -> skip
        fi }
    :: goto open
    :: goto start
    od;

settle_all:
    atomic {
        kind = 0; about = 0; its_session = 0; id = 0;
        do
        :: id < IDS && intent[id] != UNSETTLED -> id++
        :: else -> break
        od;
        if
        :: id == IDS -> id = 0; goto idle
        :: else -> send(ASK, id)
        fi
    };
    do
    :: atomic { to_host?kind(about, its_session) ->
        if
        :: kind == KNOWN && IS_MINE -> settle(true); goto settle_all
        :: kind == UNKNOWN && IS_MINE -> settle(false); goto settle_all
        :: else -> skip
        fi }
    :: goto open
    :: goto start
    od;

idle: /* somebody asks for a dose whenever one may be had */
    if
    :: atomic { next_id < IDS ->
        kind = 0; about = 0; its_session = 0;
        count_doses_held();
        if
#ifdef ONE_TOO_MANY
        :: total <= LIMIT -> id = next_id; next_id++
#else
        :: total + 1 <= LIMIT -> id = next_id; next_id++
#endif
        :: else -> total = 0; goto idle
        fi;
        total = 0;
#ifndef SENDS_BEFORE_RECORD
        record()
#endif
        }
    :: goto start
    fi;
    if
    :: atomic { send(GIVE, id) }
    :: goto start
    fi;
#ifdef SENDS_BEFORE_RECORD
    if
    :: atomic { record() }
    :: goto start
    fi;
#endif

await_done:
    do
    :: atomic { to_host?kind(about, its_session) ->
        if
        :: kind == DONE && IS_MINE -> settle(true); goto idle
        :: kind == REFUSED && IS_MINE ->
#ifdef ASKS_AFTER_REFUSAL
            goto open
#else
            settle(false); goto idle
#endif
        :: else -> skip
        fi }
    /* Silence. */
#ifdef RETRIES_WITH_A_NEW_ID
    :: atomic { settle(false); goto idle }
#endif
#ifdef RESENDS
    :: atomic { !resent -> resent = true; send(GIVE, id) }
#endif
#ifdef DOUBT_DOES_NOT_BLOCK
    :: goto idle
#endif
    :: goto open
    :: goto start
    od;

gone:
    skip
}

/* --- time ----------------------------------------------------------------------------------- */

#if defined(DOUBT_EXPIRES) || defined(AGES_FROM_INTENT)
#define AGES true
#else
#define AGES (intent[i] == SETTLED)
#endif

inline host_clock() {
    for (i : 0 .. IDS - 1) {
        held[i] = held[i] - (held[i] > 0 && AGES)
    }
    i = 0
}

active proctype Time() {
    byte i;
    do
    :: atomic {
        for (i : 0 .. IDS - 1) {
            in_body[i] = in_body[i] - (in_body[i] > 0)
        }
        if
        :: host_clock()
        :: i = 0 /* it stood still, as it does while the host is down */
        fi }
#ifdef CLOCK_LEADS
    :: atomic { host_clock() }
#endif
    od
}
