# A router that misbehaves in the way that a file names at the moment, for what miniupnpd never does. What it
# holds is written down as miniupnpd writes its leases.
import http.server, os, re, socket, sys, threading, time

mood_file, leases, host, other = sys.argv[1:5]
PORT = 5000
KIND = 'urn:schemas-upnp-org:service:WANIPConnection:1'
DEVICE = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1'
table, lock = {}, threading.Lock()


def mood():
    with open(mood_file) as file:
        return file.read().strip()


def save():
    with open(leases + '.new', 'w') as file:
        for (protocol, port), (client, inner, until) in table.items():
            file.write(f'{protocol}:{port}:{client}:{inner}:{until}:portolan\n')
    os.replace(leases + '.new', leases)


def search():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(('', 1900))
    group = socket.inet_aton('239.255.255.250') + socket.inet_aton(host)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    while True:
        asked, peer = sock.recvfrom(2048)
        target = re.search(rb'\nST: (\S+)', asked)
        if not target or target.group(1).decode() != DEVICE:
            continue
        at = other if mood() == 'location' else host
        sock.sendto(f'HTTP/1.1 200 OK\r\nst: {DEVICE}\r\nlocation: http://{at}:{PORT}/root.xml\r\n\r\n'.encode(), peer)


def describe():
    return (f'<root xmlns="urn:schemas-upnp-org:device-1-0"><device><serviceList><service><serviceType>{KIND}</serviceType>'
            '<controlURL>/ctl</controlURL></service></serviceList></device></root>')


def fault(code, said):
    return f'<e><UPnPError><errorCode>{code}</errorCode><errorDescription>{said}</errorDescription></UPnPError></e>'


def answer(action, values):
    body = ''.join(f'<{name}>{value}</{name}>' for name, value in values.items())
    return f'<e><u:{action}Response xmlns:u="{KIND}">{body}</u:{action}Response></e>'


def add(asked, now):
    lease = int(asked['NewLeaseDuration'])
    refused = {'725': lease != 0, '402': lease != 604800, '501': lease != 0, '718': True, '606': True}
    if refused.get(now):
        return fault(int(now), 'refused')
    key = (asked['NewProtocol'], asked['NewExternalPort'])
    table[key] = (asked['NewInternalClient'], asked['NewInternalPort'], int(time.time()) + lease)
    save()
    return answer('AddPortMapping', {})


def entry(key, action):
    client, inner, until = table[key]
    return answer(action, {'NewProtocol': key[0], 'NewExternalPort': key[1], 'NewInternalClient': client,
                           'NewInternalPort': inner, 'NewPortMappingDescription': 'portolan'})


def act(action, asked, now):
    key = (asked.get('NewProtocol'), asked.get('NewExternalPort'))
    if action == 'GetExternalIPAddress':
        return answer(action, {'NewExternalIPAddress': '100.64.0.9' if now == 'lies' else '45.83.0.1'})
    if action == 'AddPortMapping':
        return add(asked, now)
    if action == 'GetSpecificPortMappingEntry':
        return entry(key, action) if key in table else fault(714, 'NoSuchEntryInArray')
    if action == 'GetGenericPortMappingEntry':
        index = int(asked['NewPortMappingIndex'])
        return entry(list(table)[index], action) if index < len(table) else fault(713, 'SpecifiedArrayIndexInvalid')
    if action == 'DeletePortMapping':
        if table.pop(key, None) is None:
            return fault(714, 'NoSuchEntryInArray')
        save()
        return answer(action, {})
    return fault(401, 'Invalid Action')


class Router(http.server.BaseHTTPRequestHandler):
    def say(self, text):
        now = mood()
        if now == 'redirect':
            self.send_response(302)
            self.send_header('location', f'http://{other}:{PORT}/ctl')
            text = ''
        else:
            self.send_response(200)
        if now == 'megabyte':
            text = '<e>' + '<a/>' * (1 << 18) + '</e>'
        if now == 'entities':
            text = '<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><e>&b;</e>'
        self.send_header('content-length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        self.say(describe())

    def do_POST(self):
        asked = self.rfile.read(int(self.headers['content-length'])).decode()
        if mood() == 'hangs':
            return time.sleep(600)
        action = self.headers['soapaction'].strip('"').split('#')[1]
        with lock:
            said = act(action, dict(re.findall(r'<(New\w+)>([^<]*)</', asked)), mood())
        self.say(said)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(('0.0.0.0', PORT), Router)
threading.Thread(target=search, daemon=True).start()
print('ready', flush=True)
server.serve_forever()
