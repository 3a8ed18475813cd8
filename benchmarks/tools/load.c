/* load.c: an honest load generator for OpenAI-style chat completions. Loopback only: it refuses any other address.
 *
 *     cc -O2 -o load load.c -lm
 *     ./load 127.0.0.1:8000 --conns 32 --duration 6 --warmup 1                     closed loop: 32 always under way
 *     ./load 127.0.0.1:8000 --rate 200 --poisson --duration 6 --warmup 1           open loop: 200 begin each second
 *     ./load 127.0.0.1:8000 --stream 1 --conns 100 --ramp 2 --mock n=100,itl=20    100 streams always open
 *     ./load 127.0.0.1:8000 --requests 100000 --stream 0.5 --abandon 0.2 --expect 20
 *
 * --conns N       closed loop: requests under way; open loop: connections opened ahead of need        (16)
 * --rate R        open loop, R requests per second, evenly, or with --poisson at random intervals
 * --max-conns N   open loop: connections at most; requests beyond them wait, and their clock runs     (2000)
 * --duration S    seconds until no more requests are begun, --warmup included                         (6)
 * --warmup S      seconds at the start that are not counted                                           (1)
 * --requests N    begin N requests, then end; nothing is left uncounted, --duration is only a limit
 * --ramp S        closed loop: spread the first starts over S seconds                                 (0)
 * --drain S       seconds given to what is under way at the end                                       (10)
 * --stream F      share of the requests that ask for a stream, 0 to 1                                 (0)
 * --abandon F     share of the streams hung up on at a random event before the --expect-th            (0)
 * --expect N      a stream is complete only with exactly N content events
 * --mock SPEC     "mock:SPEC;" in the prompt, which upstream.c obeys
 * --model M  --path P  --key K (a bearer token)  --users N (values of "user", 256)  --prompt B (bytes, 1024)
 * --progress S    a line "progress <finished>" on stderr every S seconds
 *
 * The clock of a request starts when it was due: in the open loop at its scheduled time, whether or not there was a
 * connection for it and however late this program was, so a server that stalls cannot hide the queue it caused (no
 * coordinated omission). `lag` is how late requests were begun; if it is not small, nothing else here is to be trusted.
 * ok: status 200, complete by its framing and, for a stream, with [DONE] and --expect events in the order of their
 * stamps. Anything else is an error, by kind. stderr gets "window open" and "window closed" when counting starts and
 * ends. stdout gets one line of JSON, times in microseconds:
 *   ttlt due to last byte; ttft due to first content event; gap between events of a stream; transit from upstream.c's
 *   write of an event to its arrival here, from the stamp in its content.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
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

enum { MAX_CONNS = 20000 };
enum { STARVED, CONNECT, BROKEN, BAD_HTTP, STATUS, INCOMPLETE, MISCOUNTED, UNFINISHED, KINDS };
static const char *kind_names[KINDS] =
    {"starved", "connect", "broken", "bad_http", "status", "incomplete", "miscounted", "unfinished"};

typedef struct { float *values; size_t len, room; } Samples;
typedef struct { char *bytes; int len; bool stream; } Request;

typedef struct Conn {
    int fd;                          /* -1: none yet */
    enum { IDLE, SENDING, HEAD, SIZED, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, TO_CLOSE } at;
    const Request *request;
    int sent, status, head_len, line_len, events, hang_up_at;
    bool connected, close_after, done, disorder, begun;
    int64_t due, previous, stamp;
    uint64_t left;                   /* of the body, or of the chunk */
    char head[8192], line[1024];     /* a longer line of the body is cut: the stamp stands in its front part */
} Conn;

static struct sockaddr_in target = {.sin_family = AF_INET};
static int conns = 16, max_conns = 2000, users = 256, prompt = 1024, expect;
static double rate, duration = 6, warmup = 1, ramp, drain = 10, stream_share, abandon_share, progress;
static uint64_t max_requests;
static bool poisson;
static const char *model = "mock", *path = "/v1/chat/completions", *key, *mock;

static int epoll_fd, conn_count, idle_len;
static Conn **all, **idle;
static Request *plain, *streaming;
static int64_t begin_at, open_at, close_at, next_due;  /* next_due: of the open loop's timetable */
static bool window_open, over;
static Samples lag, ttft, ttlt, gap, transit;
static struct {
    uint64_t started, finished, ok, ok_streams, abandoned, events, usage_events, errors[KINDS];
} total, window;
static uint64_t under_way;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double chance(void) {  /* xorshift64*, seeded alike in every run: all targets get the same mix */
    static uint64_t x = 0x9e3779b97f4a7c15;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    return ((x * 0x2545f4914f6cdd1d) >> 11) * 0x1p-53;
}

static void sample(Samples *s, int64_t ns) {
    if (s->len == s->room && !(s->values = realloc(s->values, sizeof(float) * (s->room = s->room * 2 + 4096)))) abort();
    s->values[s->len++] = ns / 1e3;
}

static int64_t seconds(double s) { return s * 1e9; }
/* Whether a request's times are sampled: it was due in the window, however long after that it ended. */
static bool counts(const Conn *c) { return c->due >= open_at && c->due < close_at; }

#define COUNT(what) (total.what++, window_open ? window.what++ : 0)

/* ---- requests ---- */

static void make_requests(void) {
    static const char text[] = "The customer writes that the card was charged twice for one order and asks what to do. ";
    char *filler = malloc(prompt + 1), *body = malloc(prompt + 1024), authorization[512] = "";
    for (int i = 0; i < prompt; i++) filler[i] = text[i % (sizeof text - 1)];
    filler[prompt] = 0;
    if (key) snprintf(authorization, sizeof authorization, "Authorization: Bearer %s\r\n", key);
    plain = calloc(users, sizeof *plain), streaming = calloc(users, sizeof *streaming);
    for (int i = 0; i < 2 * users; i++) {
        Request *r = i < users ? &plain[i] : &streaming[i - users];
        r->stream = i >= users;
        int n = snprintf(body, prompt + 1024,
            "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":\"You answer briefly and politely.\"},"
            "{\"role\":\"user\",\"content\":\"%s%s%s%s\"}],\"temperature\":0.2,\"max_tokens\":128,\"user\":\"user-%d\"%s}",
            model, mock ? "mock:" : "", mock ? mock : "", mock ? "; " : "", filler, i % users, r->stream ? ",\"stream\":true" : "");
        r->len = asprintf(&r->bytes, "POST %s HTTP/1.1\r\nHost: localhost:%d\r\nUser-Agent: understudy-load\r\n"
            "Accept: */*\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
            path, ntohs(target.sin_port), authorization, n, body);
    }
    free(filler), free(body);
}

static void disconnect(Conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1, c->connected = false;
}

static void finish(Conn *c, bool keep) {
    if (!keep || c->close_after) disconnect(c);
    if (c->begun) under_way--, COUNT(finished);
    c->begun = false, c->at = IDLE;
    idle[idle_len++] = c;
}

static void fail(Conn *c, int kind, const char *detail) {
    if (!total.errors[kind]) fprintf(stderr, "first error %s: %.300s\n", kind_names[kind], detail);
    COUNT(errors[kind]);
    finish(c, false);
}

static bool dial(Conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return connect(c->fd, (struct sockaddr *)&target, sizeof target) == 0 || errno == EINPROGRESS;
}

static void send_on(Conn *c) {
    while (c->connected && c->at == SENDING && c->sent < c->request->len) {
        ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) return fail(c, BROKEN, "while the request was sent");
        c->sent += n;
    }
    if (c->at == SENDING && c->sent == c->request->len) c->at = HEAD;
}

static void start(Conn *c, int64_t due) {
    bool stream = stream_share > 0 && chance() < stream_share;
    c->request = &(stream ? streaming : plain)[(int)(chance() * users)];
    c->hang_up_at = stream && chance() < abandon_share ? 1 + (int)(chance() * (expect > 1 ? expect - 1 : 1)) : 0;
    c->at = SENDING, c->due = due, c->begun = true;
    c->sent = c->status = c->head_len = c->line_len = c->events = 0;
    c->close_after = c->done = c->disorder = false;
    c->previous = c->stamp = 0;
    under_way++, COUNT(started);
    if (counts(c)) sample(&lag, now_ns() - due);
    if (c->fd < 0 && !dial(c)) return fail(c, CONNECT, strerror(errno));
    send_on(c);
}

/* ---- answers ---- */

static bool take_event(Conn *c, int64_t now) {  /* a line of a stream. False: this client now hangs up */
    c->line[c->line_len] = 0;
    if (memcmp(c->line, "data:", 5)) return true;
    char *mark = strstr(c->line, "\"@");
    if (!mark) {
        if (strstr(c->line, "[DONE]")) c->done = true;
        else if (strstr(c->line, "\"usage\":{")) COUNT(usage_events);
        return true;
    }
    int64_t stamp = strtoll(mark + 2, NULL, 10);
    if (stamp < c->stamp) c->disorder = true;
    c->stamp = stamp;
    COUNT(events);
    if (window_open) sample(&transit, now - stamp);
    if (window_open && c->events) sample(&gap, now - c->previous);
    if (!c->events && counts(c)) sample(&ttft, now - c->due);
    c->previous = now;
    return !(++c->events == c->hang_up_at);
}

static bool take_body(Conn *c, const char *s, size_t n, int64_t now) {
    if (!c->request->stream || c->status != 200) return true;
    for (const char *end = s + n; s < end; ) {
        const char *eol = memchr(s, '\n', end - s);
        size_t len = (eol ? eol : end) - s, room = sizeof c->line - 1 - c->line_len, take = len < room ? len : room;
        memcpy(c->line + c->line_len, s, take);
        c->line_len += take;
        s += len;
        if (!eol) break;
        s++;
        if (!take_event(c, now)) return false;
        c->line_len = 0;
    }
    return true;
}

static void complete(Conn *c, int64_t now, const char *shown) {
    bool stream = c->request->stream;
    if (c->status != 200) return fail(c, STATUS, shown);
    if (stream && !c->done) return fail(c, INCOMPLETE, "a stream ended without [DONE]");
    if (stream && ((expect && c->events != expect) || c->disorder)) return fail(c, MISCOUNTED, "a stream lost, repeated or reordered events");
    COUNT(ok);
    if (stream) COUNT(ok_streams);
    if (counts(c)) sample(&ttlt, now - c->due);
    finish(c, true);
}

static bool read_head(Conn *c) {
    char *header;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) return false;
    c->close_after = strcasestr(c->head, "\r\nconnection: close");
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->at = CHUNK_SIZE, c->left = 0;
    else if ((header = strcasestr(c->head, "\r\ncontent-length:"))) c->at = SIZED, c->left = strtoull(header + 17, NULL, 10);
    else c->at = TO_CLOSE, c->left = UINT64_MAX;
    return true;
}

static void receive(Conn *c, const char *s, size_t n, int64_t now) {
    const char *end = s + n;
    while (c->begun) {
        if (c->at == HEAD || c->at == SENDING) {
            size_t room = sizeof c->head - 1 - c->head_len, take = (size_t)(end - s) < room ? (size_t)(end - s) : room;
            int before = c->head_len;
            memcpy(c->head + before, s, take);
            c->head[c->head_len += take] = 0;
            char *blank = strstr(c->head, "\r\n\r\n");
            if (!blank && c->head_len == sizeof c->head - 1) return fail(c, BAD_HTTP, "no end to the head");
            if (!blank) return;
            s += blank + 4 - c->head - before;
            if (!read_head(c)) return fail(c, BAD_HTTP, c->head);
        }
        if (c->at == SIZED && !c->left) return complete(c, now, c->head);
        if (s == end) return;
        if (c->at == SIZED || c->at == CHUNK || c->at == TO_CLOSE) {
            size_t take = c->left < (uint64_t)(end - s) ? c->left : (size_t)(end - s);
            if (!take_body(c, s, take, now)) {
                COUNT(abandoned);
                return finish(c, false);
            }
            s += take;
            c->left -= take;
            if (c->at == CHUNK && !c->left) c->at = CHUNK_END;
        } else if (c->at == CHUNK_SIZE) {
            char ch = *s++, low = ch | 32;
            if (ch >= '0' && ch <= '9') c->left = c->left * 16 + ch - '0';
            else if (low >= 'a' && low <= 'f') c->left = c->left * 16 + low - 'a' + 10;
            else if (ch == '\n') c->at = c->left ? CHUNK : TRAILER;
            else if (ch != '\r') return fail(c, BAD_HTTP, "a chunk size that is none");
        } else if (*s++ == '\n') {
            if (c->at == TRAILER) return complete(c, now, c->head);  /* no trailers expected */
            c->at = CHUNK_SIZE;
        }
    }
}

static void on_ready(Conn *c, uint32_t events) {
    static char room[65536];
    if (!c->connected && c->fd >= 0) {
        int problem = 0;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &(socklen_t){sizeof problem});
        if (problem && c->begun) return fail(c, CONNECT, strerror(problem));
        if (problem) return disconnect(c);
        c->connected = (events & EPOLLOUT) != 0;
    }
    if (events & EPOLLOUT) send_on(c);
    while (c->fd >= 0 && (events & ~(uint32_t)EPOLLOUT)) {
        ssize_t n = recv(c->fd, room, sizeof room, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            if (!c->begun) disconnect(c);  /* an idle connection that the server closed: its right */
            else if (n == 0 && c->at == TO_CLOSE) c->close_after = true, complete(c, now_ns(), c->head);
            else fail(c, BROKEN, c->head_len ? "the server hung up in the middle of an answer" : "the server hung up before an answer");
            return;
        }
        if (c->begun) receive(c, room, n, now_ns());
        if (n < (ssize_t)sizeof room && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;  /* it is empty now */
    }
}

/* ---- the run ---- */

static Conn *new_conn(void) {
    Conn *c = calloc(1, sizeof *c);
    if (!c) abort();
    c->fd = -1;
    return all[conn_count++] = c;
}

static Conn *take_idle(void) {
    if (idle_len) return idle[--idle_len];
    return conn_count < (rate ? max_conns : conns) ? new_conn() : NULL;
}

/* Begins what is due and returns when something next is; INT64_MAX if only answers can bring that about. */
static int64_t begin_due(int64_t now) {
    for (;;) {
        if ((rate ? next_due >= close_at : over) || (max_requests && total.started >= max_requests)) return INT64_MAX;
        int64_t due = now;
        if (rate) {
            if (next_due > now) return next_due;
            due = next_due;
        } else if (conn_count < conns && !idle_len) {
            due = begin_at + seconds(ramp * conn_count / conns);
            if (due > now) return due;
        }
        Conn *c = take_idle();
        if (!c) return INT64_MAX;
        start(c, due);
        if (rate) next_due += seconds((poisson ? -log(1 - chance()) : 1) / rate);
        else if (c->fd < 0) return now + 10000000;  /* refused: no busy loop */
    }
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name, Samples *s) {
    static const struct { const char *name; double q; } quantiles[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    printf(",\"%s\":{\"n\":%zu", name, s->len);
    if (s->len) {
        double sum = 0;
        qsort(s->values, s->len, sizeof(float), compare);
        for (size_t i = 0; i < s->len; i++) sum += s->values[i];
        printf(",\"mean\":%.1f", sum / s->len);
        for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
            printf(",\"%s\":%.1f", quantiles[i].name, s->values[(size_t)ceil(quantiles[i].q * s->len) - 1]);
    }
    printf("}");
}

static void report(double window_s) {
    printf("{\"window_s\":%.3f,\"started\":%lu,\"finished\":%lu,\"ok\":%lu,\"ok_streams\":%lu,\"abandoned\":%lu,\"events\":%lu,"
           "\"usage_events\":%lu,\"rps\":%.1f,\"events_per_s\":%.1f,\"in_all\":{\"started\":%lu,\"finished\":%lu,\"ok\":%lu,"
           "\"ok_streams\":%lu,\"abandoned\":%lu,\"events\":%lu,\"usage_events\":%lu},\"errors\":{",
           window_s, window.started, window.finished, window.ok, window.ok_streams, window.abandoned, window.events,
           window.usage_events, window.ok / window_s, window.events / window_s, total.started, total.finished, total.ok,
           total.ok_streams, total.abandoned, total.events, total.usage_events);
    for (int i = 0; i < KINDS; i++) printf("%s\"%s\":%lu", i ? "," : "", kind_names[i], total.errors[i]);
    printf("}");
    print_samples("lag", &lag);
    print_samples("ttlt", &ttlt);
    print_samples("ttft", &ttft);
    print_samples("gap", &gap);
    print_samples("transit", &transit);
    printf("}\n");
}

static void run(void) {
    struct epoll_event events[256];
    int64_t now, told, ends, closed = 0;
    next_due = begin_at = told = now_ns(), open_at = begin_at + seconds(warmup), close_at = begin_at + seconds(duration), ends = close_at + seconds(drain);
    for (int i = 0; rate && i < conns; i++)
        if (!dial(new_conn())) disconnect(all[i]);
    for (int i = 0; i < conn_count; i++) idle[idle_len++] = all[i];
    while ((now = now_ns()) < ends) {
        if (!window_open && !over && now >= open_at) window_open = true, fputs("window open\n", stderr);
        if (!over && (now >= close_at || (max_requests && total.started >= max_requests && !under_way))) {
            window_open = false, over = true, closed = now;
            fputs("window closed\n", stderr);
        }
        if (progress && now >= told + seconds(progress)) fprintf(stderr, "progress %lu\n", total.finished), told = now;
        int64_t wake = begin_due(now);
        if (over && !under_way) break;
        int64_t marks[] = {window_open || over ? ends : open_at, over ? ends : close_at, progress ? told + seconds(progress) : ends};
        for (int i = 0; i < 3; i++) wake = wake < marks[i] ? wake : marks[i];
        int64_t left = wake > (now = now_ns()) ? wake - now : 0;
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
        int n = epoll_pwait2(epoll_fd, events, 256, &(struct timespec){left / 1000000000, left % 1000000000}, NULL);
#else
        int n = epoll_wait(epoll_fd, events, 256, (left + 999999) / 1000000);
#endif
        for (int i = 0; i < n; i++) on_ready(events[i].data.ptr, events[i].events);
    }
    for (int i = 0; i < conn_count; i++)
        if (all[i]->begun) fail(all[i], UNFINISHED, "still under way at the end");
    for (; rate && next_due < close_at && !max_requests; next_due += seconds(1 / rate)) total.errors[STARVED]++;
    report((closed - open_at) / 1e9);
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"conns", 1, 0, 'c'}, {"rate", 1, 0, 'r'}, {"poisson", 0, 0, 'p'}, {"max-conns", 1, 0, 'x'}, {"duration", 1, 0, 'd'},
        {"warmup", 1, 0, 'w'}, {"requests", 1, 0, 'n'}, {"ramp", 1, 0, 'a'}, {"drain", 1, 0, 'D'}, {"stream", 1, 0, 's'},
        {"abandon", 1, 0, 'A'}, {"expect", 1, 0, 'e'}, {"mock", 1, 0, 'm'}, {"model", 1, 0, 'M'}, {"path", 1, 0, 'P'},
        {"key", 1, 0, 'k'}, {"users", 1, 0, 'u'}, {"prompt", 1, 0, 'b'}, {"progress", 1, 0, 'g'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1; ) switch (o) {
        case 'c': conns = atoi(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 'p': poisson = true; break;
        case 'x': max_conns = atoi(optarg); break;
        case 'd': duration = atof(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 'n': max_requests = strtoull(optarg, NULL, 10), warmup = 0; break;
        case 'a': ramp = atof(optarg); break;
        case 'D': drain = atof(optarg); break;
        case 's': stream_share = atof(optarg); break;
        case 'A': abandon_share = atof(optarg); break;
        case 'e': expect = atoi(optarg); break;
        case 'm': mock = optarg; break;
        case 'M': model = optarg; break;
        case 'P': path = optarg; break;
        case 'k': key = optarg; break;
        case 'u': users = atoi(optarg); break;
        case 'b': prompt = atoi(optarg); break;
        case 'g': progress = atof(optarg); break;
        default: return 2;
    }
    char host[64] = "";
    int port = 0;
    if (argc - optind != 1 || sscanf(argv[optind], "%63[^:]:%d", host, &port) != 2)
        return fprintf(stderr, "usage: load 127.0.0.1:PORT [options], see the top of load.c\n"), 2;
    if (!inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &target.sin_addr) || ntohl(target.sin_addr.s_addr) >> 24 != 127)
        return fprintf(stderr, "load: %s is not a loopback address; only 127.0.0.0/8 may be loaded\n", host), 2;
    if (conns < 1 || conns > MAX_CONNS || max_conns > MAX_CONNS || users < 1 || prompt < 0 || (abandon_share > 0 && expect < 2))
        return fprintf(stderr, "load: 1 to %d connections, at least one user, and --expect of 2 or more with --abandon\n", MAX_CONNS), 2;
    if (max_conns < conns) max_conns = conns;
    target.sin_port = htons(port);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    all = calloc(MAX_CONNS, sizeof *all), idle = calloc(MAX_CONNS, sizeof *idle);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    make_requests();
    run();
    return 0;
}
