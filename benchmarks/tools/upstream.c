/* upstream.c: a model server that costs next to nothing, to measure what stands in front of it.
 *
 *     cc -O2 -o upstream upstream.c
 *     ./upstream 9001 9002:n=50,itl=20 9003:delay=40
 *
 * Each argument is PORT[:key=value,...]: a listener on 127.0.0.1 and the profile of its answers. One request can
 * override its port's profile by a marker anywhere in its body, say in a prompt: "mock:n=50,itl=20;".
 *
 *     n=20       content events in a stream
 *     itl=0      milliseconds between them (fractions allowed; 0 = all at once)
 *     ttft=0     milliseconds before the first (the response's head goes out at once, as vLLM's does)
 *     burst=1    events per write, for servers that decode several tokens at a time
 *     delay=0    milliseconds before an answer that is not streamed
 *     pad=0      extra bytes in each content event and each answer (at most 4096)
 *     status=0   answer with this HTTP status and an error body instead
 *     cut=0      break the connection after so many content events
 *
 * POST, any path. With "stream":true an SSE stream: n content events, then one with the finish reason, then, only if
 * the request says "include_usage":true, OpenAI's usage event ("choices":[]), then [DONE]. The content of each event
 * is "@" and the CLOCK_MONOTONIC nanosecond of its write, so a client on the same machine can tell how long it was
 * under way. Events keep to a fixed timetable: one that is late does not delay those after it. While the peer does
 * not read, nothing is produced. Otherwise a chat.completion of about 0.5 KB.
 * GET /__stats: the counters below. Any other GET: a list of models, which also serves as a health check.
 * Bodies by Content-Length or chunked; keep-alive; pipelining. One thread, epoll, Linux. SIGTERM and SIGINT end it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REQUEST = 64 << 20, MAX_PAD = 4096, WRITE_ROOM = 64 << 10 };

typedef struct { double n, itl, ttft, burst, delay, pad, status, cut; } Profile;
typedef struct { char *bytes; size_t len, room; } Buffer;

typedef struct Conn {
    int fd;
    bool listening, close_after, want_usage, waiting_to_write;
    enum { READING, ANSWERING, STREAMING } doing;
    Profile profile;  /* a listener's own; a connection's: that of the request in work */
    const struct Conn *listener;
    int sent;         /* content events so far */
    int64_t due;      /* when the next thing is to be written, ns */
    int place;        /* in the timer heap, -1: not there */
    Buffer in, out;
} Conn;

static struct {
    uint64_t requests, answers, streams, streams_done, streams_abandoned, answers_abandoned, events, accepted;
    int open;
} stats;

static int epoll_fd;
static volatile sig_atomic_t stopping;
static char padding[MAX_PAD + 1];

static void stop(int signal_number) { (void)signal_number; stopping = 1; }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void append(Buffer *b, const void *bytes, size_t len) {
    if (b->len + len > b->room) {
        b->room = (b->len + len) * 2;
        if (!(b->bytes = realloc(b->bytes, b->room))) abort();
    }
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

static void drop_front(Buffer *b, size_t len) {
    memmove(b->bytes, b->bytes + len, b->len - len);
    b->len -= len;
}

/* ---- timers: a binary heap of connections by due time ---- */

static Conn **heap;
static int heap_len, heap_room;

static void settle(int i, Conn *c) {  /* puts c at i or wherever order demands */
    for (int up; i > 0 && heap[up = (i - 1) / 2]->due > c->due; i = up) (heap[i] = heap[up])->place = i;
    for (int down; (down = 2 * i + 1) < heap_len; i = down) {
        if (down + 1 < heap_len && heap[down + 1]->due < heap[down]->due) down++;
        if (heap[down]->due >= c->due) break;
        (heap[i] = heap[down])->place = i;
    }
    (heap[i] = c)->place = i;
}

static void cancel_timer(Conn *c) {
    int i = c->place;
    if (i < 0) return;
    c->place = -1;
    Conn *last = heap[--heap_len];
    if (last != c) settle(i, last);
}

static void set_timer(Conn *c, int64_t due) {
    c->due = due;
    if (c->place < 0) {
        if (heap_len == heap_room && !(heap = realloc(heap, sizeof *heap * (heap_room = heap_room * 2 + 64)))) abort();
        settle(heap_len++, c);
    } else settle(c->place, c);
}

/* ---- connections ---- */

static void watch(Conn *c, uint32_t events, int op) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(epoll_fd, op, c->fd, &e);
}

static void hang_up(Conn *c) {
    if (c->doing == STREAMING) stats.streams_abandoned++;
    if (c->doing == ANSWERING) stats.answers_abandoned++;
    stats.open--;
    cancel_timer(c);
    close(c->fd);
    free(c->in.bytes);
    free(c->out.bytes);
    free(c);
}

/* Writes what `out` holds. False: the peer is gone. What is left over waits for EPOLLOUT. */
static bool flush(Conn *c) {
    if (c->out.len) {
        ssize_t n = send(c->fd, c->out.bytes, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return false;
        if (n > 0) drop_front(&c->out, n);
    }
    bool left = c->out.len > 0;
    if (left != c->waiting_to_write) watch(c, EPOLLIN | (left ? EPOLLOUT : 0), EPOLL_CTL_MOD);
    c->waiting_to_write = left;
    return true;
}

/* ---- answers ---- */

#define EVENT "data: {\"id\":\"chatcmpl-5d1f0c3ab7e24986\",\"object\":\"chat.completion.chunk\",\"created\":1767225600," \
              "\"model\":\"mock\",\"system_fingerprint\":\"fp_mock\",\"choices\":"
#define STREAM_HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n" \
                    "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
#define ANSWER_TEXT "An answer of a usual length for a classifier or a short reply, so that the response as a whole " \
                    "comes to about half a kilobyte."

static void respond(Conn *c, int status, const char *body, int len) {
    char head[160];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n",
                     status, status < 400 ? "OK" : "Error", len);
    append(&c->out, head, n);
    append(&c->out, body, len);
}

static void answer(Conn *c) {
    char body[MAX_PAD + 1024];
    int n, status = c->profile.status;
    if (status)
        n = snprintf(body, sizeof body, "{\"error\":{\"message\":\"asked for\",\"type\":\"mock_error\",\"code\":%d}}", status);
    else
        n = snprintf(body, sizeof body,
            "{\"id\":\"chatcmpl-5d1f0c3ab7e24986\",\"object\":\"chat.completion\",\"created\":1767225600,\"model\":\"mock\","
            "\"system_fingerprint\":\"fp_mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\""
            ANSWER_TEXT "%.*s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":300,"
            "\"completion_tokens\":28,\"total_tokens\":328}}", (int)c->profile.pad, padding);
    respond(c, status ? status : 200, body, n);
    stats.answers++;
    c->doing = READING;
}

static void append_chunk(Buffer *out, const char *bytes, int len) {
    char size[16];
    append(out, size, snprintf(size, sizeof size, "%x\r\n", len));
    append(out, bytes, len);
    append(out, "\r\n", 2);
}

/* Appends everything of the stream that is due, and sets the timer for the rest. False: the stream is to be cut. */
static bool stream_on(Conn *c, int64_t now) {
    static char text[WRITE_ROOM];
    Profile *p = &c->profile;
    int64_t gap = p->itl * 1e6;
    while (c->due <= now && c->sent < p->n) {
        int n = 0;
        for (int k = 0; k < p->burst && c->sent < p->n && n + MAX_PAD + 512 < WRITE_ROOM; k++, c->sent++, stats.events++)
            n += snprintf(text + n, sizeof text - n,
                EVENT "[{\"index\":0,\"delta\":{%s\"content\":\"@%019lld %.*s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                c->sent ? "" : "\"role\":\"assistant\",", (long long)now_ns(), (int)p->pad, padding);
        append_chunk(&c->out, text, n);
        c->due += gap * (p->burst > 1 ? (int64_t)p->burst : 1);
        if (p->cut && c->sent >= p->cut) {
            c->doing = READING;  /* our doing, so not counted as abandoned */
            flush(c);
            return false;
        }
        if (c->out.len > WRITE_ROOM) break;
    }
    if (c->sent < p->n || c->due > now) {  /* the end takes a step too, as a model's end token does */
        set_timer(c, c->due);
        return true;
    }
    int n = snprintf(text, sizeof text, EVENT "[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
    if (c->want_usage)
        n += snprintf(text + n, sizeof text - n, EVENT "[],\"usage\":{\"prompt_tokens\":300,\"completion_tokens\":%d,"
                      "\"total_tokens\":%d}}\n\n", c->sent, 300 + c->sent);
    n += snprintf(text + n, sizeof text - n, "data: [DONE]\n\n");
    append_chunk(&c->out, text, n);
    append(&c->out, "0\r\n\r\n", 5);
    stats.streams_done++;
    c->doing = READING;
    return true;
}

/* ---- requests ---- */

static void read_profile(Profile *p, const char *s, const char *end) {  /* "key=value,key=value", to the first other byte */
    static const char *names[] = {"n", "itl", "ttft", "burst", "delay", "pad", "status", "cut"};
    while (s < end) {
        const char *equals = memchr(s, '=', end - s);
        if (!equals) return;
        double *field = NULL;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strlen(names[i]) == (size_t)(equals - s) && !memcmp(names[i], s, equals - s)) field = (double *)p + i;
        if (!field) return;
        char number[24] = "";
        size_t n = 0;
        for (s = equals + 1; s < end && n < sizeof number - 1 && (*s == '.' || (*s >= '0' && *s <= '9')); s++) number[n++] = *s;
        *field = atof(number);
        if (p->pad > MAX_PAD) p->pad = MAX_PAD;
        if (p->burst < 1) p->burst = 1;
        if (s == end || *s++ != ',') return;
    }
}

static bool says_true(const char *body, size_t len, const char *key) {  /* "key" : true, outside of escaped text */
    const char *end = body + len, *s = body;
    while ((s = memmem(s, end - s, key, strlen(key)))) {
        for (s += strlen(key); s < end && strchr(" \t\r\n:", *s) && *s; s++) {}
        if (end - s >= 4 && !memcmp(s, "true", 4)) return true;
    }
    return false;
}

static void begin(Conn *c, const char *method, const char *path, const char *body, size_t len) {
    if (memcmp(method, "POST ", 5)) {
        char text[512];
        int n = !strncmp(path, "/__stats", 8)
            ? snprintf(text, sizeof text, "{\"requests\":%lu,\"answers\":%lu,\"streams\":%lu,\"streams_done\":%lu,"
                "\"streams_abandoned\":%lu,\"answers_abandoned\":%lu,\"events\":%lu,\"accepted\":%lu,\"open\":%d}",
                stats.requests, stats.answers, stats.streams, stats.streams_done, stats.streams_abandoned,
                stats.answers_abandoned, stats.events, stats.accepted, stats.open)
            : snprintf(text, sizeof text, "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\","
                "\"created\":1767225600,\"owned_by\":\"mock\",\"max_model_len\":32768}]}");
        respond(c, 200, text, n);
        return;
    }
    stats.requests++;
    c->profile = c->listener->profile;
    const char *marker = memmem(body, len, "mock:", 5);
    if (marker) read_profile(&c->profile, marker + 5, body + len);
    int64_t now = now_ns();
    if (says_true(body, len, "\"stream\"") && !c->profile.status) {
        stats.streams++;
        c->want_usage = says_true(body, len, "\"include_usage\"");
        c->doing = STREAMING;
        c->sent = 0;
        append(&c->out, STREAM_HEAD, sizeof STREAM_HEAD - 1);
        set_timer(c, now + (int64_t)(c->profile.ttft * 1e6));
    } else {
        c->doing = ANSWERING;
        if (c->profile.delay) set_timer(c, now + (int64_t)(c->profile.delay * 1e6));
        else answer(c);
    }
}

/* Takes one request from the front of `in`, if it is all there. 1: taken, 0: more to come, -1: not HTTP we know. */
static int take_request(Conn *c) {
    char *start = c->in.bytes, *end = start + c->in.len, *blank;
    if (!start || c->in.len < 16) return 0;
    if (!(blank = memmem(start, c->in.len, "\r\n\r\n", 4))) return c->in.len > 65536 ? -1 : 0;
    char *body = blank + 4, *rest, *path = memchr(start, ' ', blank - start), *header;
    size_t len = 0;
    if (!path) return -1;
    *blank = 0;  /* lets the string functions stop at the end of the head; put back before leaving */
    bool chunked = strcasestr(start, "\r\ntransfer-encoding: chunked");
    bool close_after = strcasestr(start, "\r\nconnection: close");
    if ((header = strcasestr(start, "\r\ncontent-length:"))) len = strtoul(header + 17, NULL, 10);
    *blank = '\r';
    if (len > MAX_REQUEST) return -1;
    if (!chunked) {
        if ((size_t)(end - body) < len) return 0;
        rest = body + len;
    } else {
        static Buffer joined;
        joined.len = 0;
        for (char *at = body;; ) {
            char *eol = memmem(at, end - at, "\r\n", 2);
            if (!eol) return 0;
            size_t size = strtoul(at, NULL, 16);
            if (size > MAX_REQUEST) return -1;
            if ((size_t)(end - eol) < 2 + size + 2) return 0;
            rest = eol + 2 + size + 2;
            if (!size) break;
            append(&joined, eol + 2, size);
            at = rest;
        }
        body = joined.bytes, len = joined.len;
    }
    c->close_after = close_after;
    begin(c, start, path + 1, body, len);
    drop_front(&c->in, rest - start);
    return 1;
}

/* Does what can be done now: requests in, due answers out. False: the connection is over. */
static bool go_on(Conn *c) {
    for (;;) {
        if (c->doing == READING) {
            int took = c->out.len ? 0 : take_request(c);
            if (took < 0) return false;
            if (!took) return flush(c) && !(c->close_after && !c->out.len);
        } else if (c->place >= 0 && c->due > now_ns()) {
            return flush(c);
        } else {
            cancel_timer(c);
            if (c->out.len > WRITE_ROOM && !flush(c)) return false;
            if (c->out.len > WRITE_ROOM) return true;  /* the peer does not read: nothing new until it does */
            if (c->doing == ANSWERING) answer(c);
            else if (!stream_on(c, now_ns())) return false;
        }
        if (c->doing == READING && !flush(c)) return false;
    }
}

static bool read_on(Conn *c) {
    static char room[65536];
    ssize_t n = recv(c->fd, room, sizeof room, 0);
    if (n < 0) return errno == EAGAIN;
    if (n == 0 || c->in.len + n > MAX_REQUEST) return false;  /* no half-open peers: who closes, abandons */
    append(&c->in, room, n);
    return true;
}

static void accept_all(Conn *listener) {
    for (int fd; (fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0; ) {
        Conn *c = calloc(1, sizeof *c);
        if (!c) abort();
        c->fd = fd, c->place = -1, c->listener = listener;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
        stats.accepted++, stats.open++;
    }
}

static void listen_on(const char *argument) {
    Conn *l = calloc(1, sizeof *l);
    if (!l) abort();
    l->listening = true, l->place = -1, l->profile = (Profile){.n = 20, .burst = 1};
    const char *colon = strchr(argument, ':');
    if (colon) read_profile(&l->profile, colon + 1, argument + strlen(argument));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argument)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(l->fd, (struct sockaddr *)&at, sizeof at) || listen(l->fd, 4096)) {
        fprintf(stderr, "upstream: cannot listen on 127.0.0.1:%d: %s\n", atoi(argument), strerror(errno));
        exit(1);
    }
    watch(l, EPOLLIN, EPOLL_CTL_ADD);
}

static int wait_events(struct epoll_event *events, int room) {
    if (!heap_len) return epoll_wait(epoll_fd, events, room, -1);
    int64_t left = heap[0]->due - now_ns();
    if (left < 0) left = 0;
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
    struct timespec wait = {left / 1000000000, left % 1000000000};
    return epoll_pwait2(epoll_fd, events, room, &wait, NULL);
#else
    return epoll_wait(epoll_fd, events, room, (left + 999999) / 1000000);
#endif
}

int main(int argc, char **argv) {
    if (argc < 2 || argv[1][0] == '-') return fprintf(stderr, "usage: upstream PORT[:key=value,...] ...\n"), 2;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    memset(padding, 'x', MAX_PAD);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < argc; i++) listen_on(argv[i]);
    struct epoll_event events[256];
    while (!stopping) {
        int n = wait_events(events, 256);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->listening) accept_all(c);
            else if (!((events[i].events & EPOLLOUT) == events[i].events || read_on(c)) || !go_on(c)) hang_up(c);
        }
        for (int64_t now = now_ns(); heap_len && heap[0]->due <= now; ) {
            Conn *c = heap[0];  /* going on moves it in the heap */
            if (!go_on(c)) hang_up(c);
        }
    }
    return 0;
}
