"""Second thoughts, what others think, and options written otherwise (see cases.py)."""

from __future__ import annotations

from tests.judging.choice.questions import BOOKS, CAPITAL, ENGLISH, WRONG, Question

SOUTH = Question("下列哪个国家位于南半球？ 选择正确选项作答  A、埃及 B、印度 C、澳大利亚 D、日本", "C")
LIST = Question("空气中含量最多的气体是\n- A. 氧气\n- B. 氮气\n- C. 二氧化碳\n- D. 氢气", "B")
BARS = Question("空气中含量最多的气体是 A:氧气|B:氮气|C:二氧化碳|D:氢气", "B")
NAMED = Question("空气中含量最多的气体是 选项A：氧气 选项B：氮气 选项C：二氧化碳 选项D：氢气", "B")
QUOTED = Question('空气中含量最多的气体是 {"A": "氧气", "B": "氮气", "C": "二氧化碳", "D": "氢气"}', "B")
GLOSS = Question("子类重新定义父类方法称为 A. 重载（Overloading） B. 重写（Overriding） C. 封装 D. 抽象", "B")
AGE = Question("年满多少周岁的公民有选举权？ A.16周岁 B.18周岁 C.20周岁 D.22周岁", "B")
VALID = Question("关于该合同，下列说法正确的是 A、合同有效 B、合同无效 C、合同可撤销 D、合同效力待定", "B")
DOZEN = Question("一打铅笔有多少支？A. 10 B. 12 C. 20 D. 120", "B")
HALF = Question("7除以2等于 A、3 B、3.5 C、35 D、4.5", "B")
FALSE = Question("判断：地球是太阳系中最大的行星。（ ）\nA. 正确\nB. 错误", "B")
TITLE = Question("鸣凤这一人物出自 选择正确选项作答  A、《家》 B、《寒夜》 C、《第四病室》 D、《电》", "A")
HEN = Question("下列不属于哺乳动物的是 A、猫 B、狗 C、鸡 D、牛", "C")
BIRD = Question("下列不属于哺乳动物的是 A、老虎 B、黄牛 C、企鹅 D、海豚", "C")

REPLIES: list[tuple[Question, list[tuple[str, str]]]] = [
    (
        CAPITAL,
        [
            ("选A……不对，应该是B", "B"),
            ("A？不，B。", "B"),
            ("答案是A。哦不，是B。", "B"),
            ("A。等等，我再想想，应该是B。", "B"),
            ("A，更正：B", "B"),
            ("把A改成B", "B"),
            ("A？还是B吧", "B"),
            ("A（错了，应该是B）", "B"),
            ("I'll say A. Actually no, B.", "B"),
            ("A. Correction: B.", "B"),
            ("A，正确答案我确定。C不对，D不对", "A"),
            ("经计算了解，A。", "A"),
        ],
    ),
    (
        SOUTH,
        [
            ("有人会选B，但其实应该选C。", "C"),
            ("很多人以为是印度，其实是澳大利亚。", "C"),
            ("我原本想选B，但仔细考虑后选C。", "C"),
            ("初步选B，复核后选C。", "C"),
            ("如果问的是北半球，应选D；但本题问南半球，因此选C。", "C"),
            ("若选B则与常识矛盾，所以选C。", "C"),
            ("看起来像D，实际上是C", "C"),
            ("如果只能选一个，我选C", "C"),
            ("B或C，选C", "C"),
            ("C还是D？我倾向于C。", "C"),
            ("C优于A、B、D", "C"),
            ("C比D更合适", "C"),
            ("选D（日本）肯定不对，应该选C（澳大利亚）", "C"),
            ("C or D? C.", "C"),
            ("虽然日本和澳大利亚都是岛国，但位于南半球的只有澳大利亚。", "C"),
            ("I don't think B is right. C.", "C"),
            ("B is incorrect since India lies north. A and D do too. C is the only one.", "C"),
            ("选项C是最佳答案，选项A和B可以排除", "C"),
            ("A、B、D都有明显错误。", "C"),
            ("A, B, and D are wrong, leaving C.", "C"),
            ("A×B×C√D×", "C"),
            ("说错了，应该是C不是D", "C"),
            ("不是D，C才是", "C"),
            ("我无法给出百分百的答案，不过C最可能正确。", "C"),
            ("C\nA、埃及：北非\nB、印度：南亚\nC、澳大利亚：大洋洲\nD、日本：东亚", "C"),
            ("位于南半球的国家是 C、澳大利亚。印度位于北半球。", "C"),
            ("除了澳大利亚，其他国家都在北半球。", "C"),
            ("* A 埃及：不符合\n* D 日本：不符合\n\n**答案：C**", "C"),
            ("<p>答案：C</p>", "C"),
            ("<b>C</b>", "C"),
            ("~~B~~ C", "C"),
            ("C<|im_end|>", "C"),
            ("choice=C", "C"),
            ("N/A", ""),
            ("选项A到D都不合适", ""),
        ],
    ),
    (
        ENGLISH,
        [("A is a city in another country. The answer is B.", "B"), ("London? No, Paris.", "B"), ("I don't think it is London.", "")],
    ),
    (BOOKS, [("散文诗集应为《野草》，《朝花夕拾》是散文集。", "C")]),
    (WRONG, [("选A。不对，选B。", "B")]),
    (LIST, [("氮气（约78%），而氧气约占21%", "B")]),
    (BARS, [("氮气（约78%），而氧气约占21%", "B")]),
    (NAMED, [("答案：氮气。", "B")]),
    (QUOTED, [("氮气", "B")]),
    (GLOSS, [("重写", "B"), ("Overriding, not overloading.", "B"), ("子类重新定义父类方法称为重写，而重载是同名不同参。", "B")]),
    (AGE, [("18", "B"), ("180周岁", "")]),
    (VALID, [("无效", "B"), ("有效", "A")]),
    (DOZEN, [("1200", ""), ("10×1+2=12", "B")]),
    (HALF, [("3.50", "B")]),
    (FALSE, [("地球不是太阳系中最大的行星，因此该说法错误。", "B")]),
    (TITLE, [("我选择“《家》”这个选项。", "A"), ("大家都知道是《寒夜》", "B")]),
    (HEN, [("鸡不是哺乳动物", "C"), ("猫、狗、牛都是哺乳动物，鸡不是", "C")]),
    (BIRD, [("A、B、D都是哺乳动物", "C"), ("除了C都对", "C")]),
]
